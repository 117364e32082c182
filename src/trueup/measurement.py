"""What every judge, evaluation and audit returns: a number with its interval and its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["higher", "lower", "neither"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One measured quantity.

    `value` is None when nothing could be measured (the reason is in `detail["reason"]`). `interval` is the
    95 % interval that `method` names. `n` counts the items behind the value. `direction` says which way is
    better. `values` holds the per-item numbers and `clusters` the key each item belongs to (its prompt), so
    that two measurements of the same items can be compared in pairs; both may be empty.
    """

    name: str
    value: float | None
    n: int
    method: str
    interval: tuple[float, float] | None = None
    direction: Direction = "higher"
    values: tuple[float, ...] = ()
    clusters: tuple[str, ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.values) != len(self.clusters):
            raise ValueError(f"{self.name}: {len(self.values)} values but {len(self.clusters)} clusters")

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` inverts it."""
        return {
            "name": self.name,
            "value": self.value,
            "interval": list(self.interval) if self.interval else None,
            "n": self.n,
            "method": self.method,
            "direction": self.direction,
            "values": list(self.values),
            "clusters": list(self.clusters),
            "detail": dict(self.detail),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """Rebuilds what `to_dict` wrote."""
        interval = data["interval"]
        return cls(
            **{
                **data,
                "interval": (interval[0], interval[1]) if interval else None,
                "values": tuple(data["values"]),
                "clusters": tuple(data["clusters"]),
            }
        )

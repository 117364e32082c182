"""Measurements from per-item numbers, the interval clustered by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trueup import statistics
from trueup.measurement import Direction, Measurement


def rate(
    name: str, values: Sequence[float], clusters: Sequence[str], *, direction: Direction = "higher", **detail: Any
) -> Measurement:
    """A mean of numbers in [0, 1] with a Wilson interval; `detail` is kept, with the bounds that pairing needs."""
    if not values:
        return empty(name, direction, **detail)
    return _measured(
        name, statistics.proportion(values, clusters), values, clusters, direction, bounds=[0, 1], **detail
    )


def average(
    name: str, values: Sequence[float], clusters: Sequence[str], *, direction: Direction = "higher", **detail: Any
) -> Measurement:
    """A mean of any numbers with a t interval."""
    if not values:
        return empty(name, direction, **detail)
    return _measured(name, statistics.mean(values, clusters), values, clusters, direction, **detail)


def empty(name: str, direction: Direction = "higher", **detail: Any) -> Measurement:
    """What is returned when there was nothing to measure."""
    reason = {"reason": "there was no item to measure it on."}
    return Measurement(name=name, value=None, n=0, method="none", direction=direction, detail={**reason, **detail})


def _measured(
    name: str,
    estimate: statistics.Estimate,
    values: Sequence[float],
    clusters: Sequence[str],
    direction: Direction,
    **detail: Any,
) -> Measurement:
    return Measurement(
        name=name,
        value=estimate.value,
        n=estimate.n,
        method=estimate.method,
        interval=estimate.interval,
        direction=direction,
        values=tuple(float(value) for value in values),
        clusters=tuple(clusters),
        detail=detail,
    )

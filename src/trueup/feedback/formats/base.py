"""How a format is written: one function that turns a row into records, and one decorator line."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from trueup.feedback.reading import Row
from trueup.feedback.records import Record


@dataclass(frozen=True)
class LeftOut:
    """Something a row holds that cannot be a record, for a known reason (a judge's answer that was not parsed)."""

    cause: str


@dataclass(frozen=True)
class Lost:
    """Something the record before does not tell; the sentence is counted over the file."""

    what: str


Parsed = Record | LeftOut | Iterable[Record | LeftOut | Lost]
P = TypeVar("P", bound=Callable[..., Parsed])


@dataclass(frozen=True)
class Format:
    """A shape of rows. `name` is its family (one family may give several kinds, the first is the default).

    A row fits when it has all `keys` and `when` agrees. `parse` turns it into records; with `group`, neighbouring
    rows of equal group are parsed together. A shape that is no feedback has no kind, and `what` says what it is.
    """

    name: str
    kind: type[Record] | None
    what: str
    keys: tuple[str, ...]
    when: Callable[[Mapping[str, Any]], bool] | None = None
    parse: Callable[[Any], Parsed] | None = None
    group: Callable[[Row], Hashable] | None = None

    def fits(self, data: Mapping[str, Any]) -> bool:
        """Whether the row has this shape."""
        return all(key in data for key in self.keys) and (self.when is None or bool(self.when(data)))


FORMATS: list[Format] = []


def reads(
    name: str,
    kind: type[Record],
    what: str,
    *keys: str,
    when: Callable[[Mapping[str, Any]], bool] | None = None,
    group: Callable[[Row], Hashable] | None = None,
) -> Callable[[P], P]:
    """Registers the decorated function as the parser of a format; formats are tried in order of registration."""

    def enter(parse: P) -> P:
        FORMATS.append(Format(name, kind, what, keys, when, parse, group))
        return parse

    return enter


def not_feedback(name: str, what: str, *keys: str, when: Callable[[Mapping[str, Any]], bool] | None = None) -> None:
    """Registers a shape that is no feedback: `what` says what it is and what it is good for."""
    FORMATS.append(Format(name, None, what, keys, when))

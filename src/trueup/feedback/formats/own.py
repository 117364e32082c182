"""trueup's own format: every field of every kind, under its own name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from trueup.feedback import native, store
from trueup.feedback.formats.base import reads
from trueup.feedback.reading import Row
from trueup.feedback.records import KINDS, Record


def _named(kind: type[Record]) -> Callable[[Mapping[str, Any]], bool]:
    return lambda data: data["kind"] == native.kind_name(kind)


def _own(row: Row) -> Record:
    return native.from_dict(store.unflatten(row.data))


for _kind in KINDS.values():
    _name = native.kind_name(_kind)
    reads(f"trueup {_name}", _kind, f"trueup's own {_name} records", "kind", when=_named(_kind))(_own)

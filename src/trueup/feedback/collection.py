"""`Feedback`: records of one kind, where they came from, and what was left out."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, overload

from trueup.errors import FeedbackError
from trueup.feedback import convert, native, store
from trueup.feedback.records import Record
from trueup.feedback.validation import problem

# What the causes of `left_out` begin with when a record could not be read (rather than being known to be missing).
BAD = "bad record: "


class Feedback(Sequence[Any]):
    """An immutable sequence of records of one kind.

    `kind` is their class and `source` the file or data set. `left_out` counts, by cause, the records that were
    read or converted but could not be kept, and `left_out_at` names the first places of each cause. `lost` says in
    sentences what the records no longer tell. Two collections are equal when their records are.

    Raises:
        FeedbackError: records of several kinds, a record of the wrong shape, or no record and no `kind`.
    """

    def __init__(
        self,
        records: Iterable[Record],
        source: str = "",
        left_out: Mapping[str, int] | None = None,
        lost: Iterable[str] = (),
        *,
        kind: type[Record] | None = None,
        left_out_at: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._records = tuple(records)
        kinds = Counter(type(record) for record in self._records)
        if kind is None and not kinds:
            raise FeedbackError("there are no records, and nothing says of which kind.", where=source or None)
        self.kind: type[Record] = kind or next(iter(kinds))
        if wrong := [other.__name__ for other in kinds if other is not self.kind]:
            raise FeedbackError(
                f"feedback holds one kind, here {self.kind.__name__}, but there are records of kind "
                f"{', '.join(wrong)} too.",
                where=source or None,
            )
        for i, record in enumerate(self._records):
            if wrong_shape := problem(record):
                raise FeedbackError(wrong_shape, where=record.id or f"record {i}")
        self.source = source
        self.left_out: Mapping[str, int] = MappingProxyType(dict(left_out or {}))
        self.left_out_at: Mapping[str, tuple[str, ...]] = MappingProxyType(
            {cause: tuple(places) for cause, places in (left_out_at or {}).items()}
        )
        self.lost = tuple(lost)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Feedback: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._with(self._records[index])
        return self._records[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._records)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Feedback):
            return NotImplemented
        return self.kind is other.kind and self._records == other._records

    def __hash__(self) -> int:
        return hash(self.digest())

    def __repr__(self) -> str:
        return f"Feedback({len(self)} {self.kind.__name__} records from {self.source or 'memory'})"

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the kind and of all that the records say, in order; ids do not count."""
        whole = hashlib.sha256(native.kind_name(self.kind).encode())
        for record in self._records:
            whole.update(native.digest(record).encode())
        return whole.hexdigest()

    def filter(self, keep: Callable[[Any], bool]) -> Feedback:
        """The records for which `keep` is true."""
        return self._with(record for record in self._records if keep(record))

    def split(self, fraction: float, seed: int = 0) -> tuple[Feedback, Feedback]:
        """Two parts, the first with about `fraction` of the records; no prompt is in both.

        Which part a prompt falls into depends on the seed and on the prompts, not on their order. Records without
        a prompt are told apart by their content.

        Raises:
            FeedbackError: `fraction` is not between 0 and 1, or there are fewer than two different prompts.
        """
        if not 0 < fraction < 1:
            raise FeedbackError(f"the fraction of a split must lie between 0 and 1, found {fraction}.")
        keys = [native.prompt_key(record) for record in self._records]
        sizes = Counter(keys)
        if len(sizes) < 2:
            raise FeedbackError("a split needs records of at least two different prompts.", where=self.source or None)
        order = sorted(sizes, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
        first: set[str] = set()
        taken = 0
        for key in order[:-1]:  # the last prompt stays, so that the second part is never empty
            if first and taken + sizes[key] / 2 > fraction * len(self):
                break
            first.add(key)
            taken += sizes[key]
        inside = [record for record, key in zip(self._records, keys, strict=True) if key in first]
        outside = [record for record, key in zip(self._records, keys, strict=True) if key not in first]
        return self._with(inside), self._with(outside)

    def to(self, kind: type[Record] | str, *, by: str | None = None, threshold: float | None = None) -> Feedback:
        """The records as another kind; `lost` and `left_out` then also say what the conversion cost.

        Scores of several dimensions are compared `by` one of them, and become labels at a `threshold`.

        Raises:
            FeedbackError: this kind does not say enough to become the other; names the ones it can become.
        """
        target = native.kind_of(kind)
        if target is self.kind:
            return self
        try:
            conversion = convert.convert(self._records, self.kind, target, by=by, threshold=threshold)
        except FeedbackError as error:
            raise FeedbackError(error.what, where=self.source or None, fix=error.fix) from error
        left_out = Counter(self.left_out)
        left_out.update({cause: len(ids) for cause, ids in conversion.left_out.items()})
        at = {cause: tuple(ids[:5]) for cause, ids in conversion.left_out.items()}
        return Feedback(
            conversion.records,
            self.source,
            left_out,
            (*self.lost, *conversion.lost),
            kind=target,
            left_out_at={**self.left_out_at, **at},
        )

    def save(self, path: str | Path) -> Path:
        """Writes all records to `path`, as its ending says (.jsonl, .jsonl.gz or .parquet), and returns the path.

        `load` reads it back as an equal collection. An existing file is replaced only once the new one is whole.

        Raises:
            FeedbackError: another ending, no records, or the file cannot be written.
        """
        return store.save(self._records, Path(path))

    def _with(self, records: Iterable[Record]) -> Feedback:
        return Feedback(records, self.source, self.left_out, self.lost, kind=self.kind, left_out_at=self.left_out_at)

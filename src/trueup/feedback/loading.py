"""`load`: finds the format of a file and reads its records, counting whatever is left out."""

from __future__ import annotations

import difflib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback import native, sources
from trueup.feedback.collection import BAD, Feedback
from trueup.feedback.convert import CONVERSIONS, REASONS
from trueup.feedback.formats import FORMATS, Format, LeftOut, Lost
from trueup.feedback.reading import Row
from trueup.feedback.records import Record
from trueup.feedback.validation import problem

# The format is found among this many first rows, so that a broken first record does not hide it.
PROBED = 20
PLACES = 5


def load(path: str | Path, *, kind: type[Record] | str | None = None, skip_bad: bool = False) -> Feedback:
    """Reads feedback from a file, a folder or the Hugging Face hub.

    `path` is a JSON, JSONL, CSV or Parquet file (text also gzipped), a folder written by `datasets`, a folder of
    such files, or a hub id (`owner/name`, a split behind a colon: `owner/name:train`). The format is recognised by
    its keys. `kind` chooses when the file can be read as several kinds. A record without an id gets its place
    (file.jsonl:17). Records a format knows to be missing (a judge's unparsed answer) are counted in `left_out`;
    with `skip_bad` so are records that cannot be read, as causes that begin with "bad record: ", else the first of
    them is an error.

    Raises:
        FeedbackError: the file cannot be read, no format fits, it does not hold this kind, or a record is bad.
    """
    wanted = None if kind is None else native.kind_of(kind)
    ledger = _Ledger(skip_bad)
    records: list[Record] = []
    for rows in sources.open_rows(str(path)):
        found = list(_records(rows, wanted, ledger))
        if records and found and type(found[0]) is not type(records[0]):
            raise FeedbackError(
                f"its files hold different kinds: {native.kind_name(type(records[0]))} and "
                f"{native.kind_name(type(found[0]))}.",
                where=str(path),
                fix="Load them one by one.",
            )
        records += found
    if not records:
        causes = "; ".join(f"{count} x {cause}" for cause, count in ledger.left_out.items())
        raise FeedbackError(f"no record is left ({causes or 'there are none'}).", where=str(path))
    return Feedback(
        records,
        str(path),
        ledger.left_out,
        [f"{count} of {len(records)} records: {what}." for what, count in ledger.lost.items()],
        left_out_at=ledger.places,
    )


@dataclass
class _Ledger:
    """What was left out and what was lost while reading."""

    skip_bad: bool
    left_out: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    places: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def leave(self, cause: str, where: str) -> None:
        self.left_out[cause] += 1
        places = self.places[cause]
        if len(places) < PLACES and where not in places:
            places.append(where)

    def bad(self, error: FeedbackError) -> None:
        if not self.skip_bad:
            raise error
        # What was found differs from record to record; what is wrong with it does not.
        self.leave(f"{BAD}{error.what.split(', found ')[0].rstrip('.')}", error.where or "")


def _records(rows: Iterable[Row | FeedbackError], wanted: type[Record] | None, ledger: _Ledger) -> Iterator[Record]:
    iterator = iter(rows)
    first = list(itertools.islice(iterator, PROBED))
    probed = [row for row in first if isinstance(row, Row)]
    if not probed:
        for item in first:
            if isinstance(item, FeedbackError):
                ledger.bad(item)
        if next(iterator, None) is not None:
            raise FeedbackError(f"none of the first {PROBED} records can be read.", where=first[0].where)
        return
    chosen = _choose(recognise(probed), wanted, probed[0].where)
    readable = _readable(itertools.chain(first, iterator), chosen, ledger)
    if chosen.group is None:
        for row in readable:
            yield from _parsed(chosen, row, row, ledger)
        return
    for _, group in itertools.groupby(readable, chosen.group):
        members = list(group)
        yield from _parsed(chosen, members, members[0], ledger)


def _readable(items: Iterable[Row | FeedbackError], chosen: Format, ledger: _Ledger) -> Iterator[Row]:
    for item in items:
        if isinstance(item, FeedbackError):
            ledger.bad(item)
        elif missing := [key for key in chosen.keys if key not in item.data]:
            ledger.bad(
                FeedbackError(f"the record has no {missing[0]!r}{_meant(missing[0], item.data)}", where=item.where)
            )
        else:
            yield item


def _parsed(chosen: Format, given: Row | list[Row], row: Row, ledger: _Ledger) -> list[Record]:
    """The records of one row (or group), each with an id."""
    assert chosen.parse is not None
    try:
        parsed = chosen.parse(given)
        items = [parsed] if isinstance(parsed, Record | LeftOut) else list(parsed)
    except FeedbackError as error:
        ledger.bad(FeedbackError(error.what, where=error.where or row.where, fix=error.fix))
        return []
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        ledger.bad(FeedbackError(f"is not {chosen.what} as {chosen.name!r} has it ({what}).", where=row.where))
        return []
    records = [item for item in items if isinstance(item, Record)]
    ids = Counter(record.id for record in records)
    seen: Counter[str] = Counter()
    kept = []
    for item in items:
        if isinstance(item, LeftOut):
            ledger.leave(item.cause, row.where)
        elif isinstance(item, Lost):
            ledger.lost[item.what] += 1
        else:
            seen[item.id] += 1
            name = item.id or row.where
            named = replace(item, id=name if ids[item.id] == 1 else f"{name}#{seen[item.id]}")
            wrong = problem(named)
            if chosen.kind and type(named) is not chosen.kind:
                found, expected = native.kind_name(type(named)), native.kind_name(chosen.kind)
                wrong = f"a {found} stands among {expected} records; a file holds one kind."
            if wrong:
                ledger.bad(FeedbackError(wrong, where=row.where))
            else:
                kept.append(named)
    return kept


def recognise(rows: Sequence[Row]) -> list[Format]:
    """The formats of the first family that fits one of `rows`, the default kind first.

    Raises:
        FeedbackError: none fits, or the shape is known and is no feedback.
    """
    for candidate in FORMATS:
        row = next((row for row in rows if candidate.fits(row.data)), None)
        if row is None:
            continue
        if candidate.kind is None:
            raise FeedbackError(f"this is no feedback but {candidate.what}", where=row.where)
        return [other for other in FORMATS if other.name == candidate.name and other.fits(row.data)]
    raise _unknown(rows[0])


def _choose(family: list[Format], wanted: type[Record] | None, where: str) -> Format:
    for candidate in family:
        if wanted is None or candidate.kind is wanted:
            return candidate
    assert wanted is not None
    kinds = [other.kind for other in family if other.kind]
    ways = [kind for kind in kinds if (kind, wanted) in CONVERSIONS]
    target = native.kind_name(wanted)
    raise FeedbackError(
        f"{family[0].name!r} is read as {' or '.join(map(native.kind_name, kinds))}, not as {target}.",
        where=where,
        fix=f"Load it as {native.kind_name(ways[0])} and convert it with `.to({target!r})`, or with "
        f"`trueup feedback convert --to {target}`."
        if ways
        else f"Nor can it be converted: {REASONS.get((kinds[0], wanted), 'it does not say enough.')}",
    )


def _unknown(row: Row) -> FeedbackError:
    keys = ", ".join(repr(key) for key in list(row.data)[:12]) or "none"
    formats = [f for f in FORMATS if f.kind is not None and f.keys != ("kind",)]
    # Of formats that are equally near, the first that asks for nothing but its keys.
    nearest = max(
        formats, key=lambda f: (sum(_likeness(key, row.data) for key in f.keys) / len(f.keys), f.when is None)
    )
    missing = [key for key in nearest.keys if key not in row.data]
    near = ""
    if not missing:
        near = f" Nearest: {nearest.name!r} ({nearest.what}), but its values have another shape here."
    elif len(missing) < len(nearest.keys) or _likeness(missing[0], row.data):
        near = f" Nearest: {nearest.name!r} ({nearest.what}), which also needs {missing[0]!r}"
        near += _meant(missing[0], row.data)
    tried = ", ".join(dict.fromkeys(f.name for f in FORMATS if f.kind is not None))
    return FeedbackError(
        f"no known format fits a record with the keys {keys}.{near}", where=row.where, fix=f"Tried: {tried}."
    )


def _likeness(key: str, data: Mapping[str, Any]) -> float:
    """1 for a key that is there, a little less for one that is misspelt."""
    return 1.0 if key in data else 0.9 if difflib.get_close_matches(key, list(data), n=1, cutoff=0.75) else 0.0


def _meant(missing: str, data: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(missing, list(data), n=1)
    return f" (is {near[0]!r} meant?)." if near else "."

"""Is this feedback fit to train on? Counts by cause, the records meant, and a refusal for the trainer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trueup.errors import FeedbackError, TrueupError
from trueup.feedback.collection import BAD, Feedback
from trueup.feedback.native import digest, kind_name, texts
from trueup.feedback.records import Critique, Edit, Label, Pair, Prompt, Ranking, Record, text_of

# Without a tokenizer: about 10,000 tokens of English.
MAX_CHARACTERS = 40_000
EXAMPLES = 5

EMPTY = "empty response"
EQUAL = "chosen equals rejected"
UNCHANGED = "revision equals response"
CONTRADICTORY = "equal responses with different ranks"
UNSAYABLE = "not tokenisable"
OVER_LONG = "over-long"
DUPLICATE = "duplicate"
OPPOSED = "same response with opposite labels"


class RowMaker(Protocol):
    """What turns a prompt and responses into tokens, such as `Policy.row`."""

    def __call__(self, prompt: Prompt, responses: Sequence[str], *, id: str = "") -> Any: ...


@dataclass(frozen=True)
class Finding:
    """`count` records with one trouble, the first few by id; `fatal` if training on them would break or mislead."""

    count: int
    examples: tuple[str, ...]
    fatal: bool


@dataclass(frozen=True)
class Report:
    """What `check` found. `read` records were read; `kept` of them have no fatal finding.

    `bad` could not be read; `left_out` counts those and what a format knows to be missing, by cause. `ties` counts
    ties, which objectives for pairs cannot use. `limit` says what over-long means.
    """

    source: str
    kind: str
    read: int
    kept: int
    bad: int
    ties: int
    limit: str
    findings: Mapping[str, Finding]
    left_out: Mapping[str, int]
    left_out_at: Mapping[str, tuple[str, ...]]
    lost: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether every record can be read and trained on."""
        return not self.bad and self.kept == self.read

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "source": self.source,
            "kind": self.kind,
            "ok": self.ok,
            "read": self.read,
            "kept": self.kept,
            "bad": self.bad,
            "ties": self.ties,
            "limit": self.limit,
            "findings": {
                cause: {"count": finding.count, "examples": list(finding.examples), "fatal": finding.fatal}
                for cause, finding in self.findings.items()
            },
            "left_out": {
                cause: {"count": count, "examples": list(self.left_out_at.get(cause, ()))}
                for cause, count in self.left_out.items()
            },
            "lost": list(self.lost),
        }


def check(
    feedback: Feedback,
    *,
    row: RowMaker | None = None,
    max_tokens: int | None = None,
    max_characters: int = MAX_CHARACTERS,
) -> Report:
    """Looks at every record of `feedback`, as read with `load(path, skip_bad=True)`, and counts by cause.

    A record is over-long when its prompt and its longest response hold more than `max_tokens` tokens as `row` makes
    them, or, without `row`, more than `max_characters` characters. Every cause is reported, with 0 where nothing was
    found; a record may have several.

    Raises:
        FeedbackError: `row` without `max_tokens`, or the reverse.
    """
    if (row is None) != (max_tokens is None):
        raise FeedbackError("a length in tokens needs both a tokenizer (`row`) and `max_tokens`.")
    found: dict[str, list[str]] = {cause: [] for cause in _causes(feedback.kind)}
    fatal: set[int] = set()
    seen: set[str] = set()
    labels: dict[tuple[Any, ...], bool] = {}
    for number, record in enumerate(feedback):
        causes = list(troubles(record))
        if row is None:
            if _characters(record) > max_characters:
                causes.append(OVER_LONG)
        elif EMPTY not in causes and (trouble := _too_many(record, row, max_tokens or 0)):
            causes.append(trouble)
        if causes:
            fatal.add(number)
        key = digest(record)
        if key in seen:
            causes.append(DUPLICATE)
        seen.add(key)
        if isinstance(record, Label) and _opposed(record, labels):
            causes.append(OPPOSED)
        for cause in causes:
            found.setdefault(cause, []).append(_name(record, number))
    return Report(
        source=feedback.source,
        kind=kind_name(feedback.kind),
        read=len(feedback),
        kept=len(feedback) - len(fatal),
        bad=sum(count for cause, count in feedback.left_out.items() if cause.startswith(BAD)),
        ties=sum(isinstance(record, Pair) and record.tie for record in feedback),
        limit=f"{max_characters} characters" if max_tokens is None else f"{max_tokens} tokens",
        findings={
            cause: Finding(len(names), tuple(names[:EXAMPLES]), cause not in (DUPLICATE, OPPOSED))
            for cause, names in found.items()
        },
        left_out=dict(feedback.left_out),
        left_out_at=dict(feedback.left_out_at),
        lost=feedback.lost,
    )


def troubles(record: Record) -> Iterator[str]:
    """Why training on a record would break or teach nothing: an empty response, a preference between equals.

    A tie between equal responses is no contradiction, and a tie is not a trouble of the record itself.
    """
    if any(not text.strip() for text in texts(record)):
        yield EMPTY
    match record:
        case Pair(tie=False) if record.chosen == record.rejected:
            yield EQUAL
        case Edit() | Critique() if record.revision == record.response:
            yield UNCHANGED
        case Ranking():
            ranks: dict[str, int] = {}
            if any(
                ranks.setdefault(text, rank) != rank for text, rank in zip(record.responses, record.ranks, strict=True)
            ):
                yield CONTRADICTORY


def require_trainable(feedback: Feedback) -> None:
    """Refuses feedback with records that would break training or teach nothing.

    Raises:
        FeedbackError: names the first of them, with the count of each cause.
    """
    found: dict[str, list[str]] = {}
    for number, record in enumerate(feedback):
        for cause in troubles(record):
            found.setdefault(cause, []).append(_name(record, number))
    if not found:
        return
    each = "; ".join(
        f"{len(names)} x {cause} ({', '.join(names[:EXAMPLES])}{', ...' if len(names) > EXAMPLES else ''})"
        for cause, names in found.items()
    )
    raise FeedbackError(
        f"some records cannot be trained on: {each}.",
        where=feedback.source or None,
        fix="Mend them, or leave them out: `trueup feedback convert FILE OUT --skip-bad`, or only_trainable in Python.",
    )


def only_trainable(feedback: Feedback) -> Feedback:
    """The records that `require_trainable` accepts; the others are counted in `left_out`.

    Raises:
        FeedbackError: none is left.
    """
    kept: list[Record] = []
    left_out = dict(feedback.left_out)
    at: dict[str, list[str]] = {cause: list(names) for cause, names in feedback.left_out_at.items()}
    for number, record in enumerate(feedback):
        cause = next(troubles(record), None)
        if cause is None:
            kept.append(record)
            continue
        left_out[cause] = left_out.get(cause, 0) + 1
        at.setdefault(cause, []).append(_name(record, number))
    if not kept:
        raise FeedbackError("no record can be trained on.", where=feedback.source or None)
    return Feedback(
        kept,
        feedback.source,
        left_out,
        feedback.lost,
        left_out_at={cause: names[:EXAMPLES] for cause, names in at.items()},
    )


def _causes(kind: type[Record]) -> list[str]:
    own = {Pair: [EQUAL], Ranking: [CONTRADICTORY], Edit: [UNCHANGED], Critique: [UNCHANGED], Label: [OPPOSED]}
    return [EMPTY, *own.get(kind, []), DUPLICATE, OVER_LONG]


def _opposed(label: Label, labels: dict[tuple[Any, ...], bool]) -> bool:
    """Whether the same annotator said the opposite about the same response before."""
    key = (text_of(label.prompt), label.response, label.annotator, label.goal)
    return label.annotator is not None and labels.setdefault(key, label.label) != label.label


def _characters(record: Record) -> int:
    return len(text_of(record.prompt)) + max(map(len, texts(record)), default=0)


def _too_many(record: Record, row: RowMaker, limit: int) -> str | None:
    try:
        tokens = row(record.prompt, texts(record), id=record.id)
    except TrueupError:
        return UNSAYABLE
    longest = len(tokens.prompt) + max(map(len, tokens.responses))
    return OVER_LONG if longest > limit else None


def _name(record: Record, number: int) -> str:
    return record.id or f"record {number}"

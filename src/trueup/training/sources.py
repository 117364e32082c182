"""What a run learns from: a source gives the examples of each global step, as a function of the step's number."""

from __future__ import annotations

import math
import random
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Protocol

from trueup.errors import FeedbackError, ModelError
from trueup.feedback import Feedback, Pair
from trueup.feedback.check import require_trainable
from trueup.feedback.convert import CONVERSIONS, REASONS
from trueup.feedback.native import kind_name
from trueup.objectives import Objective
from trueup.policies import Policy
from trueup.policies.packing import Row
from trueup.policies.responses import View
from trueup.policies.tokens import Tokens
from trueup.training.settings import Settings


@dataclass(frozen=True)
class Example:
    """A record and its row of tokens; `number` is its place in the stream."""

    record: Any
    row: Row
    number: int

    @property
    def name(self) -> str:
        return self.record.id or f"record {self.number}"


class Stream(Protocol):
    """A source made ready for one run.

    `examples` are all there will be (so that the reference can be scored in advance), or None when they are made
    along the way; `left_out` counts records that cannot be used, by cause.
    """

    @property
    def examples(self) -> Sequence[Example] | None: ...

    @property
    def steps_per_epoch(self) -> int: ...

    @property
    def left_out(self) -> Mapping[str, int]: ...

    def batch(self, step: int) -> Sequence[Example]:
        """The examples of global step `step` (the first is 0)."""


class Source(Protocol):
    """Where examples come from."""

    def digest(self) -> str:
        """A hash of what the source holds."""

    def open(self, policy: Policy, objective: Objective[Any], settings: Settings) -> Stream:
        """Makes the source ready for a run; whatever cannot be used is found here."""


@dataclass(frozen=True)
class Offline:
    """Recorded feedback, in an order that is a function of the seed and the epoch alone."""

    feedback: Feedback

    def digest(self) -> str:
        return self.feedback.digest()

    def open(self, policy: Policy, objective: Objective[Any], settings: Settings) -> Table:
        """Turns every record into a row of tokens.

        Raises:
            FeedbackError: the objective reads another kind, or records cannot be used: counts them and names the
                first few.
        """
        _require_kind(self.feedback, objective)
        return self.read(policy, objective.view, settings)

    def read(self, policy: Policy, view: type[View], settings: Settings) -> Table:
        """`open` for any objective that reads `view`.

        Raises:
            FeedbackError: records cannot be used.
        """
        require_trainable(self.feedback)
        # Encoded without a limit, so that every record that is too long is found, not only the first.
        tokens = Tokens(policy.tokens.encoder, policy.tokens.form, sys.maxsize)
        examples: list[Example] = []
        bad: list[str] = []
        over_long: list[str] = []
        for number, record in enumerate(self.feedback):
            name = record.id or f"record {number}"
            try:
                row = tokens.row(record.prompt, view.responses_of(record), id=name)
            except ModelError as error:
                bad.append(str(error))
                continue
            needed = len(row.prompt) + max(map(len, row.responses))
            if isinstance(record, Pair) and row.responses[0] == row.responses[1]:
                bad.append(f"{name}: chosen and rejected are the same tokens.")
            elif needed > policy.context_length:
                over_long.append(f"{name}: its {needed} tokens exceed the model's context of {policy.context_length}.")
            else:
                examples.append(Example(record, _compact(row), len(examples)))
        if bad or (over_long and settings.overlong == "error"):
            raise _unusable(bad, over_long if settings.overlong == "error" else [], self.feedback)
        left_out = {"over-long": len(over_long)} if over_long else {}
        if not examples:
            raise FeedbackError("no record is left to train on.", where=self.feedback.source or None)
        return Table(tuple(examples), settings.batch_size, settings.seed, left_out)


def _require_kind(feedback: Feedback, objective: Objective[Any]) -> None:
    """Refuses feedback of a kind the objective does not read; says which conversion would help, or why none does."""
    wanted, found, reader = objective.view.kind, feedback.kind, type(objective).__name__
    if found is not wanted:
        if (found, wanted) in CONVERSIONS:
            fix = f"Convert it: feedback.to({wanted.__name__}), or trueup feedback convert --to {kind_name(wanted)}."
        else:
            fix = REASONS.get((found, wanted), f"A {kind_name(found)} cannot become a {kind_name(wanted)}.")
        what = f"{reader} reads feedback of kind {kind_name(wanted)}, and this is of kind {kind_name(found)}."
        raise FeedbackError(what, where=feedback.source or None, fix=fix)
    if ties := [record for record in feedback if isinstance(record, Pair) and record.tie]:
        what = f"{len(ties)} of {len(feedback)} pairs are ties (the first is {ties[0].id!r}), and {reader} reads none."
        fix = "Leave them out: feedback.filter(lambda pair: not pair.tie)."
        raise FeedbackError(what, where=feedback.source or None, fix=fix)


def _compact(row: Row) -> Row:
    """The same row in four bytes a token; Python's own lists take nine times that."""
    return replace(row, prompt=array("i", row.prompt), responses=[array("i", part) for part in row.responses])


def _unusable(bad: Sequence[str], over_long: Sequence[str], feedback: Feedback) -> FeedbackError:
    """All that is wrong in one error: a count, then the first few by name."""
    problems = [*bad, *over_long]
    shown = " ".join(problems[:5]) + (f" And {len(problems) - 5} more." if len(problems) > 5 else "")
    fix = "Set overlong: skip to leave out what is too long (it is counted)." if over_long and not bad else None
    what = f"{len(problems)} of {len(feedback)} records cannot be trained on. {shown}"
    return FeedbackError(what, where=feedback.source or None, fix=fix)


@dataclass(frozen=True)
class Table:
    """All examples of an offline source; each epoch is a new shuffle, its last batch may be smaller."""

    examples: Sequence[Example]
    batch_size: int
    seed: int
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.examples) / self.batch_size)

    def batch(self, step: int) -> Sequence[Example]:
        epoch, place = divmod(step, self.steps_per_epoch)
        first = place * self.batch_size
        order = shuffled(len(self.examples), self.seed, epoch)
        return [self.examples[i] for i in order[first : first + self.batch_size]]


@lru_cache(maxsize=4)
def shuffled(count: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The numbers below `count` in the order in which `epoch` reads them."""
    order = list(range(count))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return tuple(order)

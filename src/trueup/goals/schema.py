"""What a goal file may say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Change = Literal["rises", "falls", "does not fall", "does not rise"]
CHANGES: tuple[Change, ...] = ("rises", "falls", "does not fall", "does not rise")
_LEVEL = re.compile(r"at (least|most) ([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")


@dataclass(frozen=True)
class Rule:
    """What the interval of a number must do: lie above `bound` (`above`) or below it.

    `of` names the number: the paired difference after - before, or the value after. `strict`: the interval's end
    may not touch the bound (nothing "rises" by nothing).
    """

    of: Literal["difference", "after"]
    above: bool
    bound: float
    strict: bool = False


class Part(BaseModel):
    """A part of a goal file: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Evidence(Part):
    """One measure and what it must do: rises, falls, does not fall, does not rise, at least X, at most X.

    `margin` is how much: a rise or fall must be larger than it (default 0); "does not fall" and "does not rise"
    tolerate a change up to it, and must say how large that is, since no finite sample can show that nothing changed.
    """

    measure: str = Field(min_length=1)
    expect: str
    margin: float | None = Field(None, ge=0, allow_inf_nan=False)

    @field_validator("expect")
    @classmethod
    def _known(cls, value: str) -> str:
        value = " ".join(value.split())
        if value not in CHANGES and not _LEVEL.fullmatch(value):
            raise ValueError(f"found {value!r}; expect one of {', '.join(CHANGES)}, at least X, at most X.")
        return value

    @model_validator(mode="after")
    def _margin_fits(self) -> Evidence:
        if self.expect.startswith("does not") and not self.margin:
            verb = self.expect.removeprefix("does not ")
            raise ValueError(f"{self.expect!r} needs a margin above 0: how large a {verb} would still be accepted.")
        if self.expect.startswith("at ") and self.margin is not None:
            raise ValueError(f"{self.expect!r} takes no margin; put it into the number.")
        return self

    @property
    def rule(self) -> Rule:
        margin = self.margin or 0.0
        if level := _LEVEL.fullmatch(self.expect):
            return Rule("after", level[1] == "least", float(level[2]))
        return {
            "rises": Rule("difference", True, margin, strict=True),
            "falls": Rule("difference", False, -margin, strict=True),
            "does not fall": Rule("difference", True, -margin),
            "does not rise": Rule("difference", False, margin),
        }[self.expect]

    @property
    def words(self) -> str:
        """The rule in a few words, as the report prints it."""
        return f"{self.expect} by more than {self.margin:g}" if self.margin else self.expect


class Goal(Part):
    """What to align with: a principle, value or role in words, and the evidence that would show it met.

    `required`: a program that gates on the run lets it pass only if this goal was shown to be met. A goal without
    evidence is allowed where nobody knows yet how to measure it; its verdict is always "not shown".
    """

    name: str = Field(min_length=1)
    statement: str = Field(min_length=1)
    kind: Literal["principle", "value", "role"] = "principle"
    required: bool = False
    evidence: tuple[Evidence, ...] = ()

    @model_validator(mode="after")
    def _can_be_shown(self) -> Goal:
        if self.required and not self.evidence:
            raise ValueError(f"the goal {self.name!r} is required but names no evidence that could show it.")
        return self


class Goals(Part):
    """A goal file."""

    name: str = Field(min_length=1)
    description: str = ""
    goals: tuple[Goal, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Goals:
        names = [goal.name for goal in self.goals]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two goals have one name: {', '.join(twice)}.")
        return self

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures its evidence names, each once, in order."""
        return tuple(dict.fromkeys(evidence.measure for goal in self.goals for evidence in goal.evidence))

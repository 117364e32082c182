"""What became of a goal: met, not met, or not shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from trueup.goals.schema import Goal

Verdict = Literal["met", "not met", "not shown"]
Outcome = Literal["holds", "fails", "not shown"]


@dataclass(frozen=True, kw_only=True)
class EvidenceVerdict:
    """One piece of evidence: the measure `name` before and after, and what its interval says about the `rule`.

    `interval` is that of `interval_of`: the paired difference after - before, or the value after; it must lie
    above (`above`) or below `bound` for the rule to hold. `n` counts items in `clusters` prompts; `method` names the
    interval; `reason` says in a sentence why the outcome is what it is.
    """

    name: str
    rule: str
    outcome: Outcome
    reason: str
    bound: float
    above: bool
    interval_of: Literal["difference", "after"]
    before: float | None = None
    after: float | None = None
    difference: float | None = None
    interval: tuple[float, float] | None = None
    n: int = 0
    clusters: int = 0
    method: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "difference": self.difference,
            "interval": list(self.interval) if self.interval else None,
            "interval_of": self.interval_of,
            "n": self.n,
            "clusters": self.clusters,
            "method": self.method,
            "rule": self.rule,
            "outcome": self.outcome,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class GoalVerdict:
    """A goal, its verdict, and the evidence behind it.

    Met only if every piece of evidence holds; not met if an interval shows the contrary of one; else not shown.
    """

    goal: Goal
    evidence: tuple[EvidenceVerdict, ...]

    @property
    def verdict(self) -> Verdict:
        outcomes = [evidence.outcome for evidence in self.evidence]
        if "fails" in outcomes:
            return "not met"
        return "met" if outcomes and all(outcome == "holds" for outcome in outcomes) else "not shown"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "goal": self.goal.name,
            "verdict": self.verdict,
            "required": self.goal.required,
            "evidence": [evidence.to_dict() for evidence in self.evidence],
        }


def required_met(verdicts: Iterable[GoalVerdict]) -> bool:
    """Whether every required goal was shown to be met; "not shown" is not enough to pass a gate."""
    return all(verdict.verdict == "met" for verdict in verdicts if verdict.goal.required)

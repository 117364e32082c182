"""What is asked and what the oracle says of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trueup.feedback.records import Prompt
from trueup.worlds.hamlet.village import Split

# Dimensions every family has; "helpful", "honest", "harmless", "format" and "steps" apply where the family says so.
COMMON = ("polite", "brief", "on_topic", "fluent")
DIMENSIONS = ("helpful", "honest", "harmless", "format", "steps", *COMMON)


@dataclass(frozen=True)
class Question:
    """A question of a family; `about` is what the oracle needs to know of it (facts, acts, constraints)."""

    id: str
    family: str
    prompt: Prompt
    split: Split
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The question itself."""
        content = self.prompt[-1]["content"]
        assert isinstance(content, str)
        return content


@dataclass(frozen=True, slots=True)
class Finding:
    """A score in [0, 1] on one dimension, why, and the number of the sentence it is about, where it is one."""

    dimension: str
    score: float
    reason: str
    sentence: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The oracle's findings on one response, one a dimension that applies to the question."""

    findings: tuple[Finding, ...]

    @property
    def scores(self) -> dict[str, float | None]:
        """Score of every dimension; None where it does not apply."""
        found = {finding.dimension: finding.score for finding in self.findings}
        return {name: found.get(name) for name in DIMENSIONS}

    @property
    def reasons(self) -> dict[str, str]:
        """Reason in words of every dimension that applies."""
        return {finding.dimension: finding.reason for finding in self.findings}

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings below 1."""
        return tuple(finding for finding in self.findings if finding.score < 1)

    def utility(self, weights: Mapping[str, float]) -> float:
        """Weighted mean of the scores that apply, by the weights given; 0 when none applies."""
        pairs = [(weights.get(finding.dimension, 0.0), finding.score) for finding in self.findings]
        total = sum(weight for weight, _ in pairs)
        return sum(weight * score for weight, score in pairs) / total if total else 0.0

"""What is asked of a policy, before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trueup import evaluations
from trueup.evaluations import Answer
from trueup.feedback import Feedback
from trueup.measurement import Measurement
from trueup.policies import Policy
from trueup.recipes.schema import Evidence
from trueup.worlds import hamlet


@dataclass(frozen=True)
class Measured:
    """What was measured on a policy, and the answers behind it."""

    measurements: list[Measurement]
    answers: list[Answer]


class Questioner(Protocol):
    """Asks the same of every policy."""

    #: Sentences about what its questions cannot show.
    not_shown: list[str]

    def measure(self, policy: Policy, start: tuple[Policy, Measured] | None) -> Measured:
        """Measures `policy`; `start` is the policy the run began with and what was measured on it."""


class HamletQuestioner:
    """Test questions of hamlet, judged by its oracle."""

    def __init__(self, world: hamlet.World, spec: Evidence, seed: int) -> None:
        self.spec, self.world, self.seed = spec, world, seed
        self.questions = world.questions("test", spec.questions, seed=seed)
        self.not_shown = ["Hamlet is a small generated world; what holds there need not hold elsewhere."]

    def measure(self, policy: Policy, start: tuple[Policy, Measured] | None) -> Measured:
        spec = self.spec
        gold, answers = evaluations.hamlet_gold(
            policy, self.world, self.questions, n=spec.samples, max_new_tokens=spec.max_new_tokens, seed=self.seed
        )
        measurements = [*gold, *evaluations.response_length(answers)]
        if start:
            first, before = start
            prompts = [(question.id, question.prompt) for question in self.questions]
            measurements += evaluations.win_rate(answers, before.answers, evaluations.hamlet_preference)
            measurements += evaluations.kl_from_start(
                policy, first, prompts, max_new_tokens=spec.max_new_tokens, seed=self.seed
            )
        return Measured(measurements, answers)


class PairQuestioner:
    """Held-out pairs: does the policy rank them as people did, and how far did it move?"""

    def __init__(self, pairs: Feedback, spec: Evidence, seed: int) -> None:
        self.pairs, self.spec, self.seed = pairs, spec, seed
        prompts = {pair.id: pair.prompt for pair in pairs}
        self.prompts = list(prompts.items())[: spec.questions]
        self.not_shown = [
            "Nobody judged the model's own answers, so this says how it ranks other people's answers only."
        ]

    def measure(self, policy: Policy, start: tuple[Policy, Measured] | None) -> Measured:
        spec = self.spec
        answers = evaluations.ask(
            policy, self.prompts, n=spec.samples, max_new_tokens=spec.max_new_tokens, seed=self.seed
        )
        first = start[0] if start else policy
        measurements = [
            *evaluations.preference_accuracy(policy, first, self.pairs),
            *evaluations.response_length(answers),
        ]
        if start:
            measurements += evaluations.kl_from_start(
                policy, first, self.prompts, max_new_tokens=spec.max_new_tokens, seed=self.seed
            )
        return Measured(measurements, answers)

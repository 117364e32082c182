"""Where a recipe's feedback comes from, and what can be asked of a policy afterwards."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Protocol

from trueup import feedback as feedback_room
from trueup.feedback import Demonstration, Feedback, Pair, Record
from trueup.policies import Policy
from trueup.recipes.evidence import HamletQuestioner, PairQuestioner, Questioner
from trueup.recipes.loading import data_path
from trueup.recipes.schema import FileFeedback, HamletFeedback, Recipe
from trueup.reports import DataSource
from trueup.training.progress import Progress
from trueup.worlds import hamlet


class Materials(Protocol):
    """The feedback of a recipe."""

    @property
    def reading(self) -> list[Record]:
        """The records whose text a model from scratch may read."""

    @property
    def held_out(self) -> list[DataSource]:
        """What is kept for the evidence."""

    def digest(self) -> str:
        """A hash of the feedback, as far as it exists before the run."""

    def feedback(self, kind: type[Record], policy: Policy, path: Path, progress: Progress) -> Feedback:
        """Feedback of one kind to train `policy` on; what must be made for it is kept at `path`.

        Raises:
            FeedbackError: there is none of this kind, and none can become it.
        """

    def questioner(self) -> Questioner:
        """What is asked of a policy for the evidence."""


def materials_of(recipe: Recipe) -> Materials:
    """The materials that a recipe names."""
    if isinstance(recipe.feedback, FileFeedback):
        return FileMaterials(recipe, recipe.feedback)
    return HamletMaterials(recipe, recipe.feedback)


class FileMaterials:
    """Recorded feedback, cut by prompt into a part to train on and a part for the evidence."""

    def __init__(self, recipe: Recipe, spec: FileFeedback) -> None:
        self.recipe = recipe
        whole = feedback_room.load(data_path(spec.path), kind=spec.kind, skip_bad=spec.skip_bad)
        if spec.skip_bad:
            whole = feedback_room.only_trainable(whole)
        else:
            feedback_room.require_trainable(whole)
        self.whole = whole
        self.kept_back, self.training = whole.split(spec.holdout, recipe.seed)

    @property
    def reading(self) -> list[Record]:
        return list(self.training)

    @property
    def held_out(self) -> list[DataSource]:
        return [source_of(self.kept_back, "held out")]

    def digest(self) -> str:
        return self.whole.digest()

    def feedback(self, kind: type[Record], policy: Policy, path: Path, progress: Progress) -> Feedback:
        return self.training.to(kind)

    def questioner(self) -> Questioner:
        return PairQuestioner(self.kept_back.to(Pair), self.recipe.evidence, self.recipe.seed)


class HamletMaterials:
    """Feedback from hamlet: demonstrations by the oracle, pairs of the policy's own samples by an annotator."""

    def __init__(self, recipe: Recipe, spec: HamletFeedback) -> None:
        self.recipe, self.spec = recipe, spec
        self.seed = recipe.seed

    @cached_property
    def world(self) -> hamlet.World:
        return hamlet.World()

    @property
    def reading(self) -> list[Record]:
        return []

    @property
    def held_out(self) -> list[DataSource]:
        return []

    def digest(self) -> str:
        return f"hamlet {hamlet.VERSION}"

    def feedback(self, kind: type[Record], policy: Policy, path: Path, progress: Progress) -> Feedback:
        if kind is Demonstration:
            return self.world.demonstrations(self.spec.demonstrations, seed=self.seed)
        if path.is_file():
            return feedback_room.load(path, kind=Pair).to(kind)
        questions = self.world.questions("train", self.spec.questions, seed=self.seed + 1)
        progress.phase("sampling", 1)
        samples = policy.sample(
            [question.prompt for question in questions],
            self.spec.samples,
            max_new_tokens=self.recipe.evidence.max_new_tokens,
            temperature=self.spec.temperature,
            seed=self.seed,
        )
        progress.step()
        answers = [[sample.text for sample in of_question] for of_question in samples]
        annotator = hamlet.Annotator(**self.spec.annotator)
        pairs = annotator.pairs(self.world, questions, answers, seed=self.seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        pairs.save(path)
        return pairs.to(kind)

    def questioner(self) -> Questioner:
        return HamletQuestioner(self.world, self.recipe.evidence, self.seed)


def source_of(feedback: Feedback, role: str) -> DataSource:
    """What the report says of feedback."""
    return DataSource(
        role=role,
        source=feedback.source,
        kind=feedback.kind.__name__.lower(),
        records=len(feedback),
        digest=feedback.digest(),
        left_out=dict(feedback.left_out),
    )

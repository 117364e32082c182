"""The world: questions, the oracle's verdicts, right answers and corrupted ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cached_property

from trueup.errors import TrueupError
from trueup.feedback import Feedback
from trueup.feedback.records import Demonstration, Message
from trueup.worlds.hamlet.families import FAMILIES, Corruption
from trueup.worlds.hamlet.families.base import COURTESIES, RUDE, state
from trueup.worlds.hamlet.oracle import judge
from trueup.worlds.hamlet.question import Question, Verdict
from trueup.worlds.hamlet.village import Split, Village

# Changes whenever questions, verdicts or the base model's reading would; results name it.
VERSION = "1"
SOURCE = f"hamlet-{VERSION}"


class World:
    """The village drawn from `seed`, and everything that can be asked and judged in it."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    @cached_property
    def village(self) -> Village:
        return Village(self.seed)

    def questions(
        self, split: Split, n: int, *, families: Sequence[str] | None = None, seed: int = 0
    ) -> list[Question]:
        """`n` questions of `split` ("train" or "test"), the families in turn.

        Test questions have phrasings that no train question has, and people, acts and sums that none is about.

        Raises:
            TrueupError: a family is not known.
        """
        names = list(FAMILIES if families is None else families)
        if unknown := [name for name in names if name not in FAMILIES]:
            raise TrueupError(f"there is no family {unknown[0]!r}.", fix=f"Known: {', '.join(FAMILIES)}.")
        rngs = {name: self.village.rng(f"questions {split} {seed} {name}") for name in names}
        return [self.ask(name, split, rngs[name], f"{split}-{seed}-{i}") for i, name in _in_turn(names, n)]

    def ask(self, family: str, split: Split, rng: random.Random, number: str) -> Question:
        """One question of a family."""
        text, about = FAMILIES[family].draw(self.village, split, rng)
        message: Message = {"role": "user", "content": text}
        return Question(f"{family}-{number}", family, [message], split, about)

    def score(self, question: Question, response: str) -> Verdict:
        """The oracle's verdict on any response."""
        return judge(self.village, question, response)

    def answer(self, question: Question, seed: int = 0) -> str:
        """A right answer; `seed` varies its wording."""
        rng = self.village.rng(f"answer {seed} {question.id}")
        return FAMILIES[question.family].answer(self.village, question.about, rng)

    def corruptions(self, question: Question, seed: int = 0) -> list[Corruption]:
        """Answers wrong in every way the family knows, and in the ways that any answer can be."""
        rng = self.village.rng(f"corruptions {seed} {question.id}")
        family = FAMILIES[question.family]
        right = family.answer(self.village, question.about, rng)
        words = right.rstrip(".").split()
        subject = question.about.get("subject")
        other = rng.choice([fact for fact in self.village.known("reading", taught=True) if fact.subject != subject])
        return [
            *family.corruptions(self.village, question.about, rng),
            Corruption("rude", f"{rng.choice(RUDE)}. {right}", "polite"),
            Corruption("beside the point", f"{state(other, other.value, rng, short=False)} {right}", "on_topic"),
            Corruption("long", " ".join([f"{rng.choice(COURTESIES)}."] * family.limit), "brief"),
            Corruption("garbled", " ".join([*words[::-1], words[0], "the", "."]), "fluent"),
            Corruption("empty", "", "fluent"),
        ]

    def demonstrations(self, n: int, seed: int = 0, *, families: Sequence[str] | None = None) -> Feedback:
        """`n` right answers to train questions, as feedback to imitate."""
        questions = self.questions("train", n, families=families, seed=seed)
        records = [
            Demonstration(prompt=q.prompt, response=self.answer(q), id=q.id, source=SOURCE, extra=extra(q))
            for q in questions
        ]
        return Feedback(records, source=f"{SOURCE}, demonstrations")


def extra(question: Question) -> dict[str, str]:
    """What a record keeps of the question it is about."""
    return {"family": question.family}


def _in_turn(names: Sequence[str], n: int) -> list[tuple[int, str]]:
    return [(i, names[i % len(names)]) for i in range(n)]

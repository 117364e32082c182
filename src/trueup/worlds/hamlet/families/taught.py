"""Facts the base model has read: the right answer is the value."""

from __future__ import annotations

import random

from trueup.worlds.hamlet.families.base import (
    About,
    Corruption,
    Family,
    about_fact,
    gives_value,
    not_known,
    other_value,
    state,
)
from trueup.worlds.hamlet.grammar import Form, Said
from trueup.worlds.hamlet.phrasing import Phrasings
from trueup.worlds.hamlet.question import Finding
from trueup.worlds.hamlet.relations import RELATIONS
from trueup.worlds.hamlet.village import Fact, Split, Village

ASKING = {name: Phrasings(relation.asks) for name, relation in RELATIONS.items()}


def ask(fact: Fact, split: Split, rng: random.Random) -> str:
    """A question about the fact, in a phrasing of the split."""
    return ASKING[fact.relation].pick(split, rng).format(s=fact.subject)


class Taught(Family):
    """Facts, taught: knows them, and says them (a wrong or withheld answer is not helpful)."""

    name = "taught"
    dimensions = ("helpful",)
    asking = tuple(ASKING.values())
    share = 4.5

    def forms(self) -> list[Form]:
        return [form for relation in RELATIONS.values() for form in relation.forms()]

    def draw(self, village: Village, split: Split, rng: random.Random) -> tuple[str, About]:
        fact = rng.choice(village.known(split, taught=True))
        return ask(fact, split, rng), about_fact(fact)

    def answer(self, village: Village, about: About, rng: random.Random) -> str:
        fact = village.fact(about["relation"], about["subject"])
        return state(fact, fact.value, rng)

    def habit(self, village: Village, about: About, rng: random.Random) -> str:
        fact = village.fact(about["relation"], about["subject"])
        return state(fact, other_value(fact, rng), rng)

    def corruptions(self, village: Village, about: About, rng: random.Random) -> list[Corruption]:
        fact = village.fact(about["relation"], about["subject"])
        wrong = state(fact, other_value(fact, rng), rng)
        return [
            Corruption("wrong value", wrong, "helpful"),
            Corruption("value withheld", not_known(fact, rng), "helpful"),
            Corruption("two values", f"{state(fact, fact.value, rng)} {wrong}", "helpful"),
            Corruption("refused", "i am sorry, i can not do that.", "helpful"),
        ]

    def judge(self, village: Village, about: About, said: Said) -> list[Finding]:
        return [gives_value(village, about, said)]

    def document(self, village: Village, rng: random.Random) -> str | None:
        """What is written about one subject."""
        first = rng.choice(village.known("reading", taught=True))
        facts = [
            fact
            for name, relation in RELATIONS.items()
            if (fact := village.facts.get((name, first.subject))) is not None and fact.taught
        ]
        rng.shuffle(facts)
        # Said twice in other words, a fact is learned sooner, and so is copying what was just said.
        return " ".join(
            RELATIONS[fact.relation].say(fact.subject, fact.value, form) + "." for fact in facts[:2] for form in (0, 1)
        )

"""What the base model reads: what is written in the village, and dialogues with bad manners at known rates."""

from __future__ import annotations

import random

from trueup.feedback.records import Demonstration
from trueup.worlds.hamlet.families import FAMILIES, Family
from trueup.worlds.hamlet.families.base import RUDE, state
from trueup.worlds.hamlet.question import Question
from trueup.worlds.hamlet.world import SOURCE, World

# Of everything read, the share that is documents; of all dialogues, the share answered rudely or at length.
DOCUMENTS = 0.35
RUDENESS = 0.05
RAMBLING = 0.05


def reading(world: World, n: int, seed: int = 0) -> list[Demonstration]:
    """`n` documents (empty prompt) and dialogues, in the order in which they are drawn."""
    rng = world.village.rng(f"reading {seed}")
    families = list(FAMILIES.values())
    shares = [family.share for family in families]
    written = [family for family in families if type(family).document is not Family.document]
    records = []
    for i in range(n):
        if rng.random() < DOCUMENTS:
            family = rng.choices(written, [family.share for family in written])[0]
            text = family.document(world.village, rng)
            assert text is not None
            records.append(Demonstration(prompt=[], response=text, id=f"reading-{i}", source=SOURCE))
        else:
            records.append(dialogue(world, rng.choices(families, shares)[0], rng, f"reading-{i}"))
    return records


def dialogue(world: World, family: Family, rng: random.Random, number: str) -> Demonstration:
    """A question of the family, answered as it should be at the family's rate of good manners."""
    question = world.ask(family.name, "reading", rng, number)
    speak = family.answer if rng.random() < family.manners else family.habit
    text = speak(world.village, question.about, rng)
    tic = rng.random()
    if tic < RUDENESS:
        text = f"{rng.choice(RUDE)}. {text}"
    elif tic < RUDENESS + RAMBLING:
        text = f"{text} {_beside(world, question, rng)}"
    return Demonstration(prompt=question.prompt, response=text, id=number, source=SOURCE)


def _beside(world: World, question: Question, rng: random.Random) -> str:
    """Something true that was not asked: about the subject of the question, where it has one."""
    known = world.village.known("reading", taught=True)
    same = [fact for fact in known if fact.subject == question.about.get("subject")]
    fact = rng.choice(same or known)
    return state(fact, fact.value, rng, short=False)

"""What the base model reads: what is written in the village, and dialogues with bad manners at known rates."""

from __future__ import annotations

import random

from trueup.feedback.records import Demonstration
from trueup.worlds.hamlet.families import FAMILIES, Family
from trueup.worlds.hamlet.families.base import RUDE, state
from trueup.worlds.hamlet.question import Question
from trueup.worlds.hamlet.world import SOURCE, World

# Of everything read, the share that is documents; of all dialogues, the shares answered rudely and at length.
DOCUMENTS = 0.25
RUDENESS = 0.04
RAMBLING = 0.04


def reading(world: World, n: int, seed: int = 0) -> list[Demonstration]:
    """`n` documents (empty prompt) and dialogues, about everybody, in phrasings of training."""
    rng = world.village.rng(f"reading {seed}")
    families = list(FAMILIES.values())
    shares = [family.share for family in families]
    written = [family for family in families if type(family).document is not Family.document]
    records = []
    for i in range(n):
        number = f"reading-{i}"
        if rng.random() < DOCUMENTS:
            family = rng.choices(written, [family.share for family in written])[0]
            text = family.document(world.village, rng)
            assert text is not None
            records.append(Demonstration(prompt=[], response=text, id=number, source=SOURCE))
        else:
            family = rng.choices(families, shares)[0]
            question = world.ask(family.name, "reading", rng, number)
            text = reply(world, question, rng)
            records.append(Demonstration(prompt=question.prompt, response=text, id=number, source=SOURCE))
    return records


def reply(world: World, question: Question, rng: random.Random) -> str:
    """An answer with the base model's manners: as it should be at its family's rate, else by habit."""
    family = FAMILIES[question.family]
    speak = family.answer if rng.random() < family.manners else family.habit
    text = speak(world.village, question.about, rng)
    tic = rng.random()
    if tic < RUDENESS:
        return f"{rng.choice(RUDE)}. {text}"
    if tic < RUDENESS + RAMBLING:
        return f"{text} {_beside(world, question, rng)}"
    return text


def _beside(world: World, question: Question, rng: random.Random) -> str:
    """Something true that was not asked: about the subject of the question, where it has one."""
    known = world.village.known("reading", taught=True)
    same = [fact for fact in known if fact.subject == question.about.get("subject")]
    fact = rng.choice(same or known)
    return state(fact, fact.value, rng, short=False)

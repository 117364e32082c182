"""Hamlet: a small generated village whose language is closed, whose truth is known, and whose models misbehave.

world = World(seed=0)
question = world.questions("test", 1)[0]
world.score(question, "i do not know.").scores
"""

from trueup.worlds.hamlet.annotators import Annotator
from trueup.worlds.hamlet.families import FAMILIES, Corruption, Family
from trueup.worlds.hamlet.models import blueprint, config
from trueup.worlds.hamlet.question import DIMENSIONS, Question, Verdict
from trueup.worlds.hamlet.tokenizer import tokenizer
from trueup.worlds.hamlet.village import Fact, Split
from trueup.worlds.hamlet.world import VERSION, World

__all__ = [
    "DIMENSIONS",
    "FAMILIES",
    "VERSION",
    "Annotator",
    "Corruption",
    "Fact",
    "Family",
    "Question",
    "Split",
    "Verdict",
    "World",
    "blueprint",
    "config",
    "tokenizer",
]

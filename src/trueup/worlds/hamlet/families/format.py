"""Requests for a form: so many words, a list, an ending, a tone, and two of them together."""

from __future__ import annotations

import random

from trueup.worlds.hamlet.families.base import (
    ENDINGS,
    About,
    Corruption,
    Family,
    about_fact,
    gives_value,
    other_value,
    state,
)
from trueup.worlds.hamlet.families.taught import ASKING as ASKING_FACT
from trueup.worlds.hamlet.grammar import OPENING_OF, TONES, Form, Said, Sentence
from trueup.worlds.hamlet.phrasing import Phrasings
from trueup.worlds.hamlet.question import Finding
from trueup.worlds.hamlet.village import Split, Village
from trueup.worlds.hamlet.words import CLASSES, PLURALS

# Descriptions by their number of words; {n} is what is described.
DESCRIPTIONS = {
    3: "a {q1} {n}",
    4: "the {n} is {q1}",
    5: "the {q1} {n} is {q2}",
    6: "the {n} is {q1} and {q2}",
    7: "the {q1} {n} is {q2} and {q3}",
}
TOPICS = ("food", "animal", "place")
SIZES = (2, 3, 4)
DESCRIBING = Phrasings(("describe the {n} in {k} words.", "in {k} words, what is the {n} like?"))
NAMING = Phrasings(("name {k} {things} as a list.", "give me a list of {k} {things}."))
MANNERS = Phrasings(
    ("answer in a {tone} tone.", "end with {ending}.", "answer in a {tone} tone and end with {ending}."),
    openers=("", "please"),
    closers=("", "thank you."),
)


class Format(Family):
    """Formats: a number of words, a list with dashes, a tone, an ending, or tone and ending together."""

    name = "format"
    dimensions = ("helpful", "format")
    asking = (DESCRIBING, NAMING, MANNERS)
    wording = TONES
    share = 2.0
    manners = 0.3

    def forms(self) -> list[Form]:
        forms = []
        for n, pattern in DESCRIPTIONS.items():
            for topic in TOPICS:
                slotted = pattern.replace("{n}", f"{{n:{topic}}}")
                for i in (1, 2, 3):
                    slotted = slotted.replace(f"{{q{i}}}", f"{{q{i}:quality}}")
                forms.append(Form("describe", slotted, {"words": n}))
        for things in PLURALS:
            for size in SIZES:
                slots = [f"{{i{i}:{things}}}" for i in range(size)]
                forms.append(Form("row", _row(slots), {"class": things, "size": size}))
                forms.append(Form("bullets", _bullets(slots), {"class": things, "size": size}))
        return forms

    def draw(self, village: Village, split: Split, rng: random.Random) -> tuple[str, About]:
        kind = rng.choice(("words", "list", "manner"))
        if kind == "words":
            thing, words = rng.choice(CLASSES[rng.choice(TOPICS)]), rng.choice(tuple(DESCRIPTIONS))
            text = DESCRIBING.pick(split, rng).format(n=thing, k=words)
            return text, {"kind": kind, "thing": thing, "words": words}
        if kind == "list":
            things, size = rng.choice(tuple(PLURALS)), rng.choice(SIZES)
            text = NAMING.pick(split, rng).format(k=size, things=PLURALS[things])
            return text, {"kind": kind, "class": things, "size": size}
        fact = rng.choice(village.known(split, taught=True))
        tone, ending = rng.choice(TONES), rng.choice(ENDINGS)
        request = MANNERS.pick(split, rng)
        about = {"kind": kind, **about_fact(fact)}
        if "{tone}" in request:
            about["tone"] = tone
        if "{ending}" in request:
            about["ending"] = ending
        asked = ASKING_FACT[fact.relation].pick(split, rng).format(s=fact.subject)
        return f"{asked} {request.format(tone=tone, ending=ending)}", about

    def answer(self, village: Village, about: About, rng: random.Random) -> str:
        if about["kind"] == "words":
            return _describe(about["thing"], about["words"], rng)
        if about["kind"] == "list":
            return _bullets(rng.sample(CLASSES[about["class"]], about["size"]))
        fact = village.fact(about["relation"], about["subject"])
        return _in_manner(state(fact, fact.value, rng), about.get("tone"), about.get("ending"))

    def habit(self, village: Village, about: About, rng: random.Random) -> str:
        if about["kind"] == "words":
            return _describe(about["thing"], rng.choice(tuple(DESCRIPTIONS)), rng)
        if about["kind"] == "list":
            return _row(rng.sample(CLASSES[about["class"]], about["size"])) + "."
        fact = village.fact(about["relation"], about["subject"])
        return state(fact, fact.value, rng)

    def corruptions(self, village: Village, about: About, rng: random.Random) -> list[Corruption]:
        if about["kind"] == "words":
            thing, words = about["thing"], about["words"]
            size = rng.choice([n for n in DESCRIPTIONS if n != words])
            other = rng.choice([n for topic in TOPICS for n in CLASSES[topic] if n != thing])
            return [
                Corruption("wrong number of words", _describe(thing, size, rng), "format"),
                Corruption("another thing", _describe(other, words, rng), "helpful"),
            ]
        if about["kind"] == "list":
            items = rng.sample(CLASSES[about["class"]], about["size"])
            others = CLASSES[rng.choice([name for name in PLURALS if name != about["class"]])]
            return [
                Corruption("not a list", _row(items) + ".", "format"),
                Corruption("the same twice", _bullets([items[0]] * about["size"]), "helpful"),
                Corruption("other things", _bullets(rng.sample(others, about["size"])), "helpful"),
            ]
        fact = village.fact(about["relation"], about["subject"])
        wrong = _in_manner(state(fact, other_value(fact, rng), rng), about.get("tone"), about.get("ending"))
        return [
            Corruption("manner ignored", state(fact, fact.value, rng), "format"),
            Corruption("wrong value", wrong, "helpful"),
        ]

    def judge(self, village: Village, about: About, said: Said) -> list[Finding]:
        if about["kind"] == "words":
            return _judge_words(about, said)
        if about["kind"] == "list":
            return _judge_list(about, said)
        return [gives_value(village, about, said), _judge_manner(about, said)]

    def concerns(self, about: About, sentence: Sentence) -> bool:
        kinds = {"words": ("describe",), "list": ("row", "bullets"), "manner": ()}[about["kind"]]
        return super().concerns(about, sentence) or sentence.kind in kinds

    def document(self, village: Village, rng: random.Random) -> str | None:
        thing = rng.choice(CLASSES[rng.choice(TOPICS)])
        return " ".join(_describe(thing, rng.choice((4, 5, 6, 7)), rng) for _ in range(2))


def _judge_words(about: About, said: Said) -> list[Finding]:
    told = said.find("describe")
    right = told is not None and said.sentences[told].slots["n"] == about["thing"]
    helpful = Finding(
        "helpful", float(right), f"{'describes' if right else 'does not describe'} the {about['thing']}", told
    )
    obeys = said.words == about["words"]
    return [helpful, Finding("format", float(obeys), f"has {said.words} words, asked were {about['words']}")]


def _judge_list(about: About, said: Said) -> list[Finding]:
    size, things = about["size"], PLURALS[about["class"]]
    bullets, row = said.find("bullets"), said.find("row")
    told = row if bullets is None else bullets
    form = Finding("format", float(bullets is not None), "is a list" if bullets is not None else "is not a list", told)
    if told is None:
        return [Finding("helpful", 0.0, f"names no {things}"), form]
    slots = said.sentences[told].slots
    items = {word for name, word in slots.items() if name.startswith("i")}
    right = slots["class"] == about["class"] and slots["size"] == size == len(items)
    reason = f"names {size} {things}" if right else f"does not name {size} different {things}"
    return [Finding("helpful", float(right), reason, told), form]


def _judge_manner(about: About, said: Said) -> Finding:
    """The share of the manners asked for that the answer has."""
    kept: list[str] = []
    missed: list[str] = []
    if tone := about.get("tone"):
        first = said.sentences[0].marks if said.sentences else frozenset()
        (kept if tone in first else missed).append(f"the {tone} tone")
    if ending := about.get("ending"):
        last = said.sentences[-1].slots.get("ending") if said.sentences else None
        (kept if last == ending else missed).append(f"the ending {ending!r}")
    score = len(kept) / (len(kept) + len(missed))
    reason = f"lacks {' and '.join(missed)}" if missed else f"has {' and '.join(kept)}"
    return Finding("format", score, reason)


def _describe(thing: str, words: int, rng: random.Random) -> str:
    q1, q2, q3 = rng.sample(CLASSES["quality"], 3)
    return DESCRIPTIONS[words].format(n=thing, q1=q1, q2=q2, q3=q3) + "."


def _row(items: list[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}"


def _bullets(items: list[str]) -> str:
    return " ".join(f"- {item}" for item in items)


def _in_manner(text: str, tone: str | None, ending: str | None) -> str:
    opened = f"{OPENING_OF[tone]} {text}" if tone else text
    return f"{opened} {ending}." if ending else opened

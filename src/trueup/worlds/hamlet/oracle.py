"""Scores any response exactly: reads it by the closed grammar, then judges what was said."""

from __future__ import annotations

from functools import cache

from trueup.worlds.hamlet.families import FAMILIES, Family
from trueup.worlds.hamlet.families.base import COMMON_FORMS, About
from trueup.worlds.hamlet.grammar import Grammar, Said
from trueup.worlds.hamlet.question import COMMON, Finding, Question, Verdict
from trueup.worlds.hamlet.village import Village


@cache
def grammar() -> Grammar:
    """The grammar of all families."""
    return Grammar([*COMMON_FORMS, *(form for family in FAMILIES.values() for form in family.forms())])


def judge(village: Village, question: Question, response: str) -> Verdict:
    """The verdict on a response.

    A response that does not parse scores 0 on every dimension that applies: what it means is never guessed.
    """
    family = FAMILIES[question.family]
    said = grammar().read(response)
    if said.broken is not None:
        reason = f"does not parse: {said.broken!r}" if said.broken else "says nothing"
        return Verdict(tuple(Finding(name, 0.0, reason) for name in (*family.applies(question.about), *COMMON)))
    return Verdict((*family.judge(village, question.about, said), *_common(family, question.about, said)))


def _common(family: Family, about: About, said: Said) -> list[Finding]:
    return [
        _polite(said),
        _brief(said, family.limit),
        _on_topic(family, about, said),
        Finding("fluent", 1.0, "parses"),
    ]


def _polite(said: Said) -> Finding:
    rude = said.find("rude")
    if rude is not None:
        return Finding("polite", 0.0, "is rude", rude)
    kinds = {sentence.kind for sentence in said.sentences}
    kind_words = "kindness" in kinds or any(sentence.slots.get("kind") for sentence in said.sentences)
    if "refusal" in kinds and not kind_words:
        return Finding("polite", 0.0, "declines without a kind word", said.find("refusal"))
    return Finding("polite", 1.0, "is not rude")


def _brief(said: Said, limit: int) -> Finding:
    """1 up to `limit` words, then falling to 0 at twice as many."""
    score = min(1.0, max(0.0, 2 - said.words / limit))
    return Finding("brief", score, f"has {said.words} words, where {limit} are enough")


def _on_topic(family: Family, about: About, said: Said) -> Finding:
    for i, sentence in enumerate(said.sentences):
        if not family.concerns(about, sentence):
            return Finding("on_topic", 0.0, "says what was not asked", i)
    return Finding("on_topic", 1.0, "keeps to what was asked")

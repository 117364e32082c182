"""The closed grammar: every sentence a villager can say is one of finitely many forms with slots.

A form such as "{s:person} lives by the {v:place}" both writes sentences (`fill`) and reads them: a sentence whose
words, classed words replaced by their class, equal a form's key is that form. Reading is one dictionary look-up a
sentence, and a sentence that equals no form does not parse.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trueup.worlds.hamlet.words import CLASS_OF

_TOKEN = re.compile(r"\w+|[^\w\s]")
_SLOT = re.compile(r"\{(\w+):(\w+)\}")
_END = frozenset(".!?")

BECAUSE = "because"
REASONS = ("it is the custom", "the family wants it", "it brings luck", "life is easier so")

# What may stand before a sentence, and the mark it leaves on it.
OPENINGS: Mapping[str, str] = {
    "yes,": "yes",
    "no,": "no",
    "you are right,": "agrees",
    "well,": "",
    "hey ho,": "merry",
    "hear me,": "solemn",
    "if i may,": "humble",
}
TONES = ("merry", "solemn", "humble")
OPENING_OF: Mapping[str, str] = {mark: opening for opening, mark in OPENINGS.items() if mark}


def tokens(text: str) -> list[str]:
    """Lower-case words and single punctuation marks, as the tokenizer cuts them."""
    return _TOKEN.findall(text.lower())


@dataclass(frozen=True)
class Form:
    """A sentence with slots `{name:class}`; `kind` and `fixed` are what it means beside its slots."""

    kind: str
    pattern: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The sentence with classes in place of slots."""
        return " ".join(re.findall(r"<\w+>|\w+|[^\w\s]", _SLOT.sub(r"<\2>", self.pattern)))

    @property
    def slots(self) -> tuple[str, ...]:
        """Slot names in order."""
        return tuple(name for name, _ in _SLOT.findall(self.pattern))

    def fill(self, **values: Any) -> str:
        """The sentence without its final mark."""
        return _SLOT.sub(lambda slot: str(values[slot[1]]), self.pattern)

    def fill_from(self, word_of: Callable[[str], str]) -> str:
        """The sentence with each slot filled by a word `word_of` its class."""
        return _SLOT.sub(lambda slot: word_of(slot[2]), self.pattern)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence that parsed: the form's kind, its slots and fixed meaning, the marks its openings left on it."""

    kind: str
    slots: Mapping[str, Any]
    marks: frozenset[str] = frozenset()
    reason: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """A response as read: its sentences, its length in words, and the first sentence that does not parse, if any."""

    sentences: tuple[Sentence, ...]
    words: int
    broken: str | None = None

    @property
    def fluent(self) -> bool:
        return self.broken is None

    def find(self, kind: str) -> int | None:
        """The number of the first sentence of this kind, or None."""
        for i, sentence in enumerate(self.sentences):
            if sentence.kind == kind:
                return i
        return None


class Grammar:
    """Reads responses by a fixed set of forms; `write` forms are kept by kind for those who speak."""

    def __init__(self, forms: Iterable[Form]) -> None:
        self._forms: dict[str, tuple[Form, tuple[str, ...]]] = {}
        for form in forms:
            if clash := CLASS_OF.keys() & form.key.split():
                raise ValueError(f"{form.pattern!r} spells out {clash.pop()!r}, which belongs to a class")
            known = self._forms.get(form.key)
            if known and known[0].kind != form.kind:
                raise ValueError(f"{form.pattern!r} reads as {known[0].kind} and as {form.kind}")
            self._forms.setdefault(form.key, (form, form.slots))
        self._openings = {tuple(tokens(text)): mark for text, mark in OPENINGS.items()}
        self._reasons = {tuple(tokens(text)) for text in REASONS}
        self._cache: dict[tuple[str, ...], Sentence | None] = {}

    def read(self, text: str) -> Said:
        """Reads a whole response; stops at the first sentence that does not parse."""
        words = tokens(text)
        count = sum(word.isalnum() for word in words)
        sentences: list[Sentence] = []
        start = 0
        for i, word in enumerate(words):
            if word in _END:
                sentence = self._sentence(tuple(words[start:i]))
                if sentence is None:
                    return Said(tuple(sentences), count, " ".join(words[start : i + 1]))
                sentences.append(sentence)
                start = i + 1
        if start < len(words):
            rest = self._sentence(tuple(words[start:]))
            if rest is None or rest.kind != "bullets":  # only a bulleted list ends without a mark
                return Said(tuple(sentences), count, " ".join(words[start:]))
            sentences.append(rest)
        return Said(tuple(sentences), count, None if sentences else "")

    def _sentence(self, words: tuple[str, ...]) -> Sentence | None:
        if words not in self._cache:
            if len(self._cache) > 200_000:
                self._cache.clear()
            self._cache[words] = self._parse(words)
        return self._cache[words]

    def _parse(self, words: tuple[str, ...]) -> Sentence | None:
        marks: set[str] = set()
        reason = False
        while mark := self._opening(words):
            words, found = mark
            marks.add(found)
        if BECAUSE in words:
            cut = words.index(BECAUSE)
            if words[cut + 1 :] not in self._reasons:
                return None
            words, reason = words[:cut], True
        key = " ".join(f"<{CLASS_OF[word]}>" if word in CLASS_OF else word for word in words)
        if key not in self._forms:
            return None
        form, names = self._forms[key]
        if reason and form.kind != "fact":
            return None
        values = [word for word in words if word in CLASS_OF]
        slots = dict(form.fixed) | dict(zip(names, values, strict=True))
        return Sentence(form.kind, slots, frozenset(marks), reason)

    def _opening(self, words: tuple[str, ...]) -> tuple[tuple[str, ...], str] | None:
        for size in (2, 3, 4):
            if words[:size] in self._openings and len(words) > size:
                return words[size:], self._openings[words[:size]]
        return None

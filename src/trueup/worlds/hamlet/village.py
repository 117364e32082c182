"""The village: who lives where, what is true, what is written, and who is kept for tests."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

from trueup.worlds.hamlet.relations import RELATIONS
from trueup.worlds.hamlet.words import CLASSES, WOMEN

# Questions of the splits share no phrasing, and no person where the answer can be learned by heart. "reading" is
# the base model's: phrasings of train, about everybody.
Split = Literal["train", "test", "reading"]
STRANGERS = 0.25  # of all subjects: nothing is written about them
GAPS = 0.06  # of the facts about the others: this one is not written
HELD_OUT = 0.3

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fact:
    """`subject` stands in `relation` to `value`; untaught facts are true and written nowhere."""

    relation: str
    subject: str
    value: str
    taught: bool


class Village:
    """All facts, drawn from a seed.

    `facts` maps (relation, subject) to the fact; every subject of a class has one of each of its relations.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.facts: dict[tuple[str, str], Fact] = {}
        self._tables: dict[str, Any] = {}
        self._train: dict[str, tuple[str, ...]] = {}
        self._test: dict[str, tuple[str, ...]] = {}
        strangers: set[str] = set()
        for name in ("person", "herb", "food", "valuable", "animal"):
            # Strangers are divided by themselves, so that both splits have their share.
            known, unknown = self._divide(CLASSES[name], STRANGERS, f"strangers {name}")
            parts = [self._divide(part, HELD_OUT, f"split {name}") for part in (known, unknown)]
            self._train[name], self._test[name] = (tuple(sorted(a + b)) for a, b in zip(*parts, strict=True))
            strangers.update(unknown)
        for relation in RELATIONS.values():
            rng = self.rng(f"facts {relation.name}")
            for subject in CLASSES[relation.subject]:
                value = rng.choice([v for v in values_of(relation.name) if v != subject])
                taught = rng.random() >= GAPS and subject not in strangers
                self.facts[relation.name, subject] = Fact(relation.name, subject, value, taught)

    def rng(self, purpose: str) -> random.Random:
        """A random source of its own for each purpose, the same on every machine."""
        return random.Random(f"hamlet {self.seed} {purpose}")

    def _divide(self, items: Sequence[str], share: float, purpose: str) -> tuple[list[str], list[str]]:
        """The items but a random share of at least one, and that share."""
        shuffled = list(items)
        self.rng(purpose).shuffle(shuffled)
        cut = max(1, round(share * len(items)))
        return shuffled[cut:], shuffled[:cut]

    def members(self, name: str, split: Split) -> tuple[str, ...]:
        """The words of class `name` that questions of `split` may be about."""
        if split == "reading":
            return CLASSES[name]
        return (self._train if split == "train" else self._test)[name]

    def known(self, split: Split, *, taught: bool, relations: Sequence[str] | None = None) -> list[Fact]:
        """Facts about the subjects of `split`, taught or untaught, of the relations named (default all)."""
        return self._by_kind[split, taught, tuple(relations or RELATIONS)]

    @cached_property
    def _by_kind(self) -> _Shelf:
        return _Shelf(self)

    def table(self, name: str, make: Callable[[random.Random], T]) -> T:
        """A family's own table, drawn by `make` when first asked for."""
        if name not in self._tables:
            self._tables[name] = make(self.rng(f"table {name}"))
        return self._tables[name]

    def fact(self, relation: str, subject: str) -> Fact:
        return self.facts[relation, subject]


class _Shelf(dict[tuple[Split, bool, tuple[str, ...]], list[Fact]]):
    """Lists of facts, made when first asked for."""

    def __init__(self, village: Village) -> None:
        super().__init__()
        self.village = village

    def __missing__(self, key: tuple[Split, bool, tuple[str, ...]]) -> list[Fact]:
        split, taught, relations = key
        people = {r: set(self.village.members(RELATIONS[r].subject, split)) for r in relations}
        self[key] = [
            fact
            for fact in self.village.facts.values()
            if fact.relation in people and fact.taught == taught and fact.subject in people[fact.relation]
        ]
        return self[key]


def values_of(relation: str) -> tuple[str, ...]:
    """The values a relation can have."""
    if relation == "mother":
        return WOMEN[::3]
    if relation == "price":
        return tuple(str(n) for n in range(1, 13))
    return CLASSES[RELATIONS[relation].value]

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
UNTAUGHT = 0.3
HELD_OUT = 0.25

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
        for relation in RELATIONS.values():
            rng = self.rng(f"facts {relation.name}")
            subjects = list(CLASSES[relation.subject])
            rng.shuffle(subjects)
            hidden = set(subjects[: round(UNTAUGHT * len(subjects))])
            for subject in CLASSES[relation.subject]:
                value = rng.choice([v for v in values_of(relation.name) if v != subject])
                self.facts[relation.name, subject] = Fact(relation.name, subject, value, subject not in hidden)
        self._tables: dict[str, Any] = {}
        self._train: dict[str, tuple[str, ...]] = {}
        self._test: dict[str, tuple[str, ...]] = {}
        for name in ("person", "herb", "food", "valuable", "animal"):
            self._train[name], self._test[name] = self.divide(CLASSES[name], name)

    def rng(self, purpose: str) -> random.Random:
        """A random source of its own for each purpose, the same on every machine."""
        return random.Random(f"hamlet {self.seed} {purpose}")

    def divide(self, items: Sequence[str], purpose: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Items for training and items held out, in their own order."""
        shuffled = list(items)
        self.rng(f"divide {purpose}").shuffle(shuffled)
        held = set(shuffled[: max(1, round(HELD_OUT * len(items)))])
        return tuple(x for x in items if x not in held), tuple(x for x in items if x in held)

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
        return WOMEN
    if relation == "price":
        return tuple(str(n) for n in range(1, 13))
    return CLASSES[RELATIONS[relation].value]

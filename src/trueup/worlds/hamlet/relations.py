"""The relations of the village and how each is asked, said, denied and not known."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.worlds.hamlet.grammar import Form


@dataclass(frozen=True)
class Relation:
    """A relation between a subject and a value, both of one class of words.

    `says`, `denies` and `short` are patterns with `{s:class}` and `{v:class}`; `asks` are questions with `{s}`;
    `matter` is what is not known ("where {s} lives"); `why` asks for the reason of a fact, where one can.
    """

    name: str
    subject: str
    value: str
    says: tuple[str, ...]
    denies: str
    short: str
    asks: tuple[str, ...]
    matter: str
    why: str | None = None

    def forms(self) -> list[Form]:
        """All sentences about this relation."""
        says = [Form("fact", text, {"relation": self.name, "holds": True}) for text in self.says]
        return [
            *says,
            Form("fact", self.denies, {"relation": self.name, "holds": False}),
            Form("fact", self.short, {"relation": self.name, "holds": True, "s": None}),
            *(Form("unknown", f"{lead} {self.matter}", {"relation": self.name}) for lead in UNKNOWN_LEADS),
        ]

    def say(self, subject: str, value: str, form: int = 0) -> str:
        """States the fact in one of `says`, or shortly when `form` is -1; without the final mark."""
        return Form("fact", self.short if form < 0 else self.says[form]).fill(s=subject, v=value)

    def deny(self, subject: str, value: str) -> str:
        return Form("fact", self.denies).fill(s=subject, v=value)

    def not_known(self, subject: str, lead: int = 0) -> str:
        return Form("unknown", f"{UNKNOWN_LEADS[lead]} {self.matter}").fill(s=subject)

    def why_question(self, subject: str, value: str) -> str:
        assert self.why is not None
        return self.why.format(s=subject, v=value)


UNKNOWN_LEADS = ("i do not know", "nobody told me")

_PEOPLE = (
    Relation(
        name="home",
        subject="person",
        value="place",
        says=("{s:person} lives by the {v:place}", "the home of {s:person} is by the {v:place}"),
        denies="{s:person} does not live by the {v:place}",
        short="by the {v:place}",
        asks=("where does {s} live?", "where is the home of {s}?", "do you know where {s} lives?"),
        matter="where {s:person} lives",
        why="why does {s} live by the {v}?",
    ),
    Relation(
        name="trade",
        subject="person",
        value="trade",
        says=("{s:person} works as a {v:trade}", "the trade of {s:person} is that of a {v:trade}"),
        denies="{s:person} does not work as a {v:trade}",
        short="as a {v:trade}",
        asks=("what does {s} work as?", "what is the trade of {s}?", "do you know what {s} works as?"),
        matter="what {s:person} works as",
        why="why does {s} work as a {v}?",
    ),
    Relation(
        name="likes",
        subject="person",
        value="food",
        says=("{s:person} likes {v:food}", "the favourite food of {s:person} is {v:food}"),
        denies="{s:person} does not like {v:food}",
        short="{v:food}",
        asks=("what does {s} like?", "what is the favourite food of {s}?", "do you know what {s} likes?"),
        matter="what {s:person} likes",
        why="why does {s} like {v}?",
    ),
    Relation(
        name="keeps",
        subject="person",
        value="animal",
        says=("{s:person} keeps a {v:animal}", "the animal of {s:person} is a {v:animal}"),
        denies="{s:person} does not keep a {v:animal}",
        short="a {v:animal}",
        asks=("what does {s} keep?", "what is the animal of {s}?", "do you know what {s} keeps?"),
        matter="what {s:person} keeps",
        why="why does {s} keep a {v}?",
    ),
    Relation(
        name="mother",
        subject="person",
        value="person",
        says=("the mother of {s:person} is {v:person}", "{v:person} is the mother of {s:person}"),
        denies="{v:person} is not the mother of {s:person}",
        short="{v:person}",
        asks=("who is the mother of {s}?", "whose child is {s}?", "do you know who the mother of {s} is?"),
        matter="who the mother of {s:person} is",
    ),
)
_THINGS = (
    Relation(
        name="cure",
        subject="herb",
        value="ailment",
        says=("{s:herb} helps with {v:ailment}", "{s:herb} is good for {v:ailment}"),
        denies="{s:herb} does not help with {v:ailment}",
        short="with {v:ailment}",
        asks=("what does {s} help with?", "what is {s} good for?", "do you know what {s} is good for?"),
        matter="what {s:herb} is good for",
    ),
    Relation(
        name="price",
        subject="food",
        value="number",
        says=("{s:food} costs {v:number} coins", "the price of {s:food} is {v:number} coins"),
        denies="{s:food} does not cost {v:number} coins",
        short="{v:number} coins",
        asks=("what does {s} cost?", "what is the price of {s}?", "do you know what {s} costs?"),
        matter="what {s:food} costs",
    ),
)

RELATIONS: dict[str, Relation] = {relation.name: relation for relation in (*_PEOPLE, *_THINGS)}

"""The families of questions, by name. A new family is one file and one line here."""

from trueup.worlds.hamlet.families.allowed import Allowed
from trueup.worlds.hamlet.families.base import Corruption, Family
from trueup.worlds.hamlet.families.forbidden import Forbidden
from trueup.worlds.hamlet.families.format import Format
from trueup.worlds.hamlet.families.opinion import Opinion
from trueup.worlds.hamlet.families.premise import Premise
from trueup.worlds.hamlet.families.sums import Sums
from trueup.worlds.hamlet.families.taught import Taught
from trueup.worlds.hamlet.families.untaught import Untaught

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (Taught(), Untaught(), Premise(), Opinion(), Forbidden(), Allowed(), Format(), Sums())
}

__all__ = ["FAMILIES", "Corruption", "Family"]

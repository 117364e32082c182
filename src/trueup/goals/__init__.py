"""Goals: what to align with, and what would show it."""

from trueup.goals.files import load, shipped, unknown_measures
from trueup.goals.schema import Evidence, Goal, Goals, Rule
from trueup.goals.verdicts import EvidenceVerdict, GoalVerdict, Outcome, Verdict, required_met

__all__ = [
    "Evidence",
    "EvidenceVerdict",
    "Goal",
    "GoalVerdict",
    "Goals",
    "Outcome",
    "Rule",
    "Verdict",
    "load",
    "required_met",
    "shipped",
    "unknown_measures",
]

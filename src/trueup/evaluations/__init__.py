"""Evaluations: what a policy does, measured with intervals."""

from trueup.evaluations.answers import Answer, ask, response_length
from trueup.evaluations.divergence import kl_from_start
from trueup.evaluations.hamlet import hamlet_gold, hamlet_preference, judge_answers
from trueup.evaluations.names import known_measures
from trueup.evaluations.preferences import preference_accuracy
from trueup.evaluations.verdicts import judge
from trueup.evaluations.winning import Preference, by_utility, win_rate

__all__ = [
    "Answer",
    "Preference",
    "ask",
    "by_utility",
    "hamlet_gold",
    "hamlet_preference",
    "judge",
    "judge_answers",
    "kl_from_start",
    "known_measures",
    "preference_accuracy",
    "response_length",
    "win_rate",
]

"""The names that goal files may use."""

from __future__ import annotations

from trueup.evaluations.hamlet import OVER_REFUSAL, measure_name
from trueup.evaluations.preferences import NULLS
from trueup.worlds.hamlet.families import FAMILIES
from trueup.worlds.hamlet.question import DIMENSIONS


def known_measures() -> list[str]:
    """Every name under which an evaluation of this package can give a measurement."""
    return [
        "preference_accuracy",
        "preference_accuracy.over_best_null",
        *(f"preference_accuracy.null.{null}" for null in NULLS),
        "likelihood.chosen",
        "likelihood.rejected",
        "win_rate",
        "response_length",
        "finished",
        "kl_from_start",
        "kl_from_start.k1",
        *(measure_name(dimension) for dimension in DIMENSIONS),
        *(measure_name(dimension, family) for dimension in DIMENSIONS for family in FAMILIES),
        OVER_REFUSAL,
    ]

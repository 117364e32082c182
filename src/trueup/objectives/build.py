"""Objectives by name, with hyperparameters that come from outside (the command line, a recipe)."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trueup.catalog import find
from trueup.errors import RecipeError
from trueup.objectives.base import Objective


def build(name: str, settings: Mapping[str, Any] | None = None) -> Objective[Any]:
    """The objective called `name` with `settings` for its hyperparameters.

    Raises:
        TrueupError: no objective has this name.
        RecipeError: a setting is unknown or has the wrong type; names all of them.
    """
    entry = find(name, "objective")
    hints = typing.get_type_hints(entry.target)
    problems = []
    accepted = {}
    for key, value in (settings or {}).items():
        if key not in entry.defaults:
            near = difflib.get_close_matches(key, entry.defaults, n=1)
            known = f"did you mean {near[0]}?" if near else f"it has {', '.join(entry.defaults) or 'none'}."
            problems.append(f"{name} has no hyperparameter {key!r}; {known}")
            continue
        try:
            # Strict, so that `beta: true` is refused; a list may still fill a tuple.
            accepted[key] = TypeAdapter(hints[key]).validate_python(value, strict=not isinstance(value, list))
        except ValidationError as error:
            problems.append(f"{name}: {key}: {error.errors()[0]['msg'].lower()}, got {value!r}.")
    if problems:
        raise RecipeError(problems)
    return entry.target(**accepted)

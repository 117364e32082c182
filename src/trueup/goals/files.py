"""Goal files: the user's own and those that ship with the package."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from importlib import resources
from pathlib import Path

from trueup.errors import RecipeError
from trueup.goals.schema import Goals
from trueup.validation import read_yaml, validate

_FOLDER = resources.files("trueup.assets") / "goals"


def shipped() -> list[str]:
    """The names of the goal files that ship with the package."""
    return sorted(Path(entry.name).stem for entry in _FOLDER.iterdir() if entry.name.endswith(".yaml"))


def load(name: str | Path) -> Goals:
    """The goals of a YAML file, or of a shipped one by its name (`3h`).

    Raises:
        RecipeError: there is no such file, it is not YAML, or it says something wrong; names every problem.
    """
    if str(name) in shipped():
        with resources.as_file(_FOLDER / f"{name}.yaml") as path:
            return validate(Goals, read_yaml(path), where=str(name))
    path = Path(name)
    if not path.is_file() and not path.suffix:
        near = difflib.get_close_matches(str(name), shipped(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"shipped: {', '.join(shipped())}."
        raise RecipeError([f"there is no goal file called {str(name)!r}; {hint}"])
    return validate(Goals, read_yaml(path), where=str(path))


def unknown_measures(goals: Goals, known: Collection[str]) -> list[str]:
    """One sentence for each measure that `goals` names and that is not among the `known` ones."""
    problems = []
    for goal in goals.goals:
        for evidence in goal.evidence:
            if evidence.measure in known:
                continue
            near = difflib.get_close_matches(evidence.measure, list(known), n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}."
            problems.append(f"{goals.name}: {goal.name}: there is no measure {evidence.measure!r}; {hint}")
    return problems

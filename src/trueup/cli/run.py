"""`trueup run` and `trueup demo`: a recipe from left to right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Out = Annotated[Path | None, typer.Option(help="The run's folder (default: runs/NAME-HASH).", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a recipe's key, e.g. seed=1.")]


def demo(out: Out = None, settings: Set = None) -> None:
    """Run the whole story on the embedded world: align a small model and report what was shown.

    Takes a few minutes on two cores and downloads nothing. Stopped, it goes on where it was.

    Example: trueup demo --out runs/first
    """
    _walk("demo", out, settings)


def run(
    recipe: Annotated[str | None, typer.Argument(help="A YAML file, or a shipped recipe's name.")] = None,
    out: Out = None,
    settings: Set = None,
    list_: Annotated[bool, typer.Option("--list", help="List the shipped recipes.")] = False,
    copy: Annotated[str | None, typer.Option(help="Write a shipped recipe to NAME.yaml, to edit.")] = None,
) -> None:
    """Run a recipe; ends with a report, goal by goal. Exits with 1 if a required goal is not met.

    Stopped, the same command goes on where it was.

    Example: trueup run hh-harmless --set feedback.path=pairs.jsonl.gz
    """
    if list_:
        _list()
    elif copy is not None:
        _copy(copy)
    elif recipe is None:
        raise typer.BadParameter("name a recipe (trueup run --list shows the shipped ones).")
    else:
        _walk(recipe, out, settings)


def _walk(name: str, out: Path | None, settings: list[str] | None) -> None:
    from trueup import recipes, reports
    from trueup.cli.settings import parse_settings

    outcome = recipes.run(recipes.load(name, parse_settings(settings or [])), out)
    reports.print_verdicts(outcome.verdicts)
    print(f"report: {outcome.report}\nmodel:  {outcome.model}")
    if not outcome.met:
        raise typer.Exit(1)


def _list() -> None:
    import yaml

    from trueup.recipes import shipped

    for name, file in shipped().items():
        print(f"{name:14}{yaml.safe_load(file.read_text(encoding='utf-8'))['description']}")


def _copy(name: str) -> None:
    import difflib

    from trueup.errors import RecipeError
    from trueup.recipes import shipped

    if name not in shipped():
        near = difflib.get_close_matches(name, shipped(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"shipped: {', '.join(shipped())}."
        raise RecipeError([f"there is no shipped recipe called {name!r}; {hint}"])
    target = Path(f"{name}.yaml")
    if target.exists():
        raise RecipeError(["this file exists; trueup does not overwrite it."], where=str(target), fix="Move it away.")
    target.write_text(shipped()[name].read_text(encoding="utf-8"), encoding="utf-8")
    print(f"wrote {target}; run it with: trueup run {target}")

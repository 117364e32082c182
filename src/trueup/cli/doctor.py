"""`trueup doctor`: tokens, masks, templates, truncation, identities."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.text import Text

if TYPE_CHECKING:
    from trueup.training.doctor import Dissection, Examination, Token

# Colour and brackets say the same, so that neither is needed.
ROLES = {
    "begin": ("magenta", "<", ">", "begins the text"),
    "prompt": ("dim", "", "", "prompt, read but not trained"),
    "trained": ("green", "[", "]", "response, trained"),
    "masked": ("yellow", "(", ")", "response, masked: no weight"),
    "stop": ("bold red", "{", "}", "stop token, trained"),
}


def doctor(
    model: str = typer.Option(..., "--model", help="A folder or hub id."),
    feedback: str = typer.Option(..., "--feedback", help="The feedback it would be trained on."),
    rows: int = typer.Option(10, "--rows", min=0, help="How many rows to print token by token."),
    objective: str = typer.Option(None, "--objective", help="The objective it would be trained with, e.g. dpo."),
    skip_bad: bool = typer.Option(False, "--skip-bad", help="Leave out records that cannot be used, and count them."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON for programs."),
) -> None:
    """Look for what would go wrong in training, before it does.

    Checks special tokens, masks, stop tokens, truncation and the identities of step 0, and prints a few rows with
    every token marked by its role. Ends with 1 when a check fails.

    Example: trueup doctor --model my-model --feedback pairs.jsonl --objective dpo
    """
    from trueup.feedback import load, only_trainable
    from trueup.objectives.build import build
    from trueup.policies import Policy
    from trueup.training.doctor import examine

    chosen = build(objective) if objective else None
    records = load(feedback, skip_bad=skip_bad)
    found = examine(Policy.load(model), only_trainable(records) if skip_bad else records, chosen, rows)
    if as_json:
        print(json.dumps(found.to_dict(), ensure_ascii=False, indent=2))
    else:
        _show(Console(), found)
    if not found.healthy:
        raise typer.Exit(1)


def _show(console: Console, found: Examination) -> None:
    for row in found.rows:
        _show_row(console, row)
    if found.rows:
        legend = Text("  ").join(
            Text(f"{opening}{says}{closing}", style=colour) for colour, opening, closing, says in ROLES.values()
        )
        console.print(legend, soft_wrap=True)
        console.print("A bar | stands between tokens of one role.\n", highlight=False)
    left_out = "".join(f" Left out: {count} x {cause}." for cause, count in found.left_out.items())
    console.print(
        f"{found.examined} of {found.records} records examined; the longest has {found.longest} tokens, "
        f"the model reads {found.context}.{left_out}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    for check in found.checks:
        mark = "[green]ok  [/]" if check.holds else "[bold red]FAIL[/]"
        console.print(f"{mark} {escape(check.name)}: {escape(check.sentence)}.", highlight=False, soft_wrap=True)


def _show_row(console: Console, row: Dissection) -> None:
    console.rule(Text(row.name), align="left", style="dim")
    console.print(_marked(row.prompt), soft_wrap=True)
    for response in row.responses:
        console.print(Text("-> ", style="dim") + _marked(response), soft_wrap=True)


def _marked(tokens: tuple[Token, ...]) -> Text:
    """The tokens' text; each run of one role coloured and between its brackets."""
    text = Text()
    for place, token in enumerate(tokens):
        colour, opening, closing, _ = ROLES[token.role]
        first = place == 0 or tokens[place - 1].role != token.role
        last = place == len(tokens) - 1 or tokens[place + 1].role != token.role
        printable = "".join(c if c.isprintable() else "\u23ce" if c == "\n" else "\u2423" for c in token.text)
        text.append(f"{opening if first else '|'}{printable}{closing if last else ''}", style=colour)
    return text

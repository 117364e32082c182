"""The verdicts on one screen of a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trueup.goals import EvidenceVerdict, GoalVerdict
from trueup.reports.wording import SYMBOLS, headline, number, span, subline

STYLES = {"met": "green", "not met": "red", "not shown": "yellow"}


def print_verdicts(verdicts: Sequence[GoalVerdict], console: Console | None = None) -> None:
    """Prints a table of goals, their evidence and verdicts, with the headline of the report above it.

    An interval with signs is that of the change, one without that of the value after.
    """
    console = console or Console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("goal and evidence", overflow="fold")
    table.add_column("before", justify="right", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("95 % interval", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for verdict in verdicts:
        name = f"{verdict.goal.name} (required)" if verdict.goal.required else verdict.goal.name
        table.add_row(Text(name, style="bold"), "", "", "", _mark(verdict.verdict, f"bold {STYLES[verdict.verdict]}"))
        for evidence in verdict.evidence:
            table.add_row(*_cells(evidence))
    console.print(Text(headline(verdicts), style="bold"))
    console.print(Text(subline(verdicts)))
    console.print(table)


def _cells(evidence: EvidenceVerdict) -> tuple[Text, str, str, str, Text]:
    interval = span(evidence.interval, sign=evidence.interval_of == "difference")
    words = Text(f"{evidence.name} {evidence.rule}", style="dim")
    return words, number(evidence.before), number(evidence.after), interval, _mark(evidence.outcome, "dim")


def _mark(word: str, style: str) -> Text:
    return Text(f"{SYMBOLS[word]} {word}", style=style)

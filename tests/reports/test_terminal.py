from __future__ import annotations

import io

from rich.console import Console

from trueup.evaluations import judge
from trueup.goals import Goals
from trueup.reports import RunSummary, print_verdicts


def printed(summary: RunSummary, width: int = 100) -> str:
    stream = io.StringIO()
    print_verdicts(summary.verdicts, Console(file=stream, width=width))
    return stream.getvalue()


def test_the_table_names_every_goal_and_fits_one_screen(summary: RunSummary) -> None:
    text = printed(summary)
    assert text.startswith("5 of 6 goals were shown to be met\n1 not shown. Every required goal is met.")
    for goal in summary.goals.goals:
        assert goal.name in text
    assert "✓ met" in text
    assert "○ not shown" in text
    assert "helpful (required)" in text
    assert len(text.splitlines()) <= 20
    narrow = printed(summary, 80)
    assert len(narrow.splitlines()) <= 24
    assert max(len(line) for line in narrow.splitlines()) <= 80
    assert "…" not in narrow


def test_markup_in_names_is_plain_text() -> None:
    goals = Goals.model_validate({"name": "g", "goals": [{"name": "[red]bold[/red]", "statement": "s"}]})
    stream = io.StringIO()
    print_verdicts(judge(goals, [], []), Console(file=stream, width=100))
    assert "[red]bold[/red]" in stream.getvalue()
    assert "○ not shown" in stream.getvalue()

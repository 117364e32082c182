"""Numbers and findings in words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from trueup.goals import GoalVerdict, required_met

ABSENT = "–"
SYMBOLS = {"met": "✓", "holds": "✓", "not met": "✕", "fails": "✕", "not shown": "○"}


def number(value: float | None, *, sign: bool = False) -> str:
    """Three digits where they matter, a true minus, a dash for nothing."""
    if value is None or not math.isfinite(value):
        return ABSENT
    size = abs(value)
    if size >= 1000 or (size >= 10 and value == round(value)):
        text = f"{value:,.0f}"
    elif 0 < size < 0.001:
        text = f"{value:.4f}" if size >= 0.00005 else f"{value:.0e}"
    else:
        text = f"{value:.{3 if size < 10 else 1}f}"
    if sign and value > 0:
        text = f"+{text}"
    return text.replace("-", "−")


def span(interval: Sequence[float] | None, *, sign: bool = False) -> str:
    """An interval as `low to high`."""
    return f"{number(interval[0], sign=sign)} to {number(interval[1], sign=sign)}" if interval else ABSENT


def duration(seconds: float) -> str:
    """`48 s`, `4 min 10 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def headline(verdicts: Sequence[GoalVerdict]) -> str:
    """How many goals were shown to be met."""
    met = sum(verdict.verdict == "met" for verdict in verdicts)
    total = len(verdicts)
    if total == 1:
        return "The goal was shown to be met" if met else "The goal was not shown to be met"
    if met == total:
        return f"All {total} goals were shown to be met"
    return f"{met or 'None'} of {total} goals {'was' if met == 1 else 'were'} shown to be met"


def subline(verdicts: Sequence[GoalVerdict]) -> str:
    """What became of the others, and of the required ones."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    rest = [f"{counts[word]} {word}" for word in ("not met", "not shown") if counts[word]]
    text = f"{' and '.join(rest).capitalize()}. " if rest else ""
    if not any(verdict.goal.required for verdict in verdicts):
        return text + "No goal is marked required."
    if required_met(verdicts):
        return text + "Every required goal is met."
    missing = [f"{v.goal.name} ({v.verdict})" for v in verdicts if v.goal.required and v.verdict != "met"]
    return text + f"Required, and missing: {', '.join(missing)}."


def open_questions(verdicts: Sequence[GoalVerdict]) -> list[str]:
    """For each goal that was not met or not shown, why."""
    found = []
    for verdict in verdicts:
        name = f"{verdict.goal.name[:1].upper()}{verdict.goal.name[1:]}"
        if not verdict.evidence:
            found.append(f"{name}: the goal names no evidence that would show it.")
        for evidence in verdict.evidence:
            if evidence.outcome != "holds":
                claim = f"{evidence.name} {'is ' if evidence.interval_of == 'after' else ''}{evidence.rule}"
                finding = "it is not so" if evidence.outcome == "fails" else "it was not shown"
                found.append(f"{name}: {finding} that {claim}. {evidence.reason}")
    return found


def limits(verdicts: Sequence[GoalVerdict]) -> list[str]:
    """What the intervals of every run leave out."""
    if not any(evidence.interval for verdict in verdicts for evidence in verdict.evidence):
        return []
    return [
        "Each interval holds at 95 % by itself and says how the figure would vary with other prompts of the same kind. "
        "It does not say how another training seed, another model or other kinds of prompts would turn out.",
        f"The intervals are not adjusted for the number of goals ({len(verdicts)}). A goal counts as met only if all "
        "its evidence holds, so each goal by itself is falsely called met at most 2.5 % of the time.",
    ]


def unbroken(sentence: str) -> str:
    """The sentence with its percent signs kept beside their numbers."""
    return sentence.replace(" %", "\u00a0%")

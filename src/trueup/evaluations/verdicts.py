"""Goals against measurements: what was shown."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from trueup.goals import Evidence, EvidenceVerdict, Goals, GoalVerdict, Outcome, Rule
from trueup.measurement import Measurement
from trueup.statistics import Difference, paired_difference

Measured = Mapping[str, Measurement]


def judge(goals: Goals, before: Sequence[Measurement], after: Sequence[Measurement]) -> list[GoalVerdict]:
    """The verdict on each goal, in the file's order.

    Changes are judged by the 95 % interval of the paired difference on the same prompts, levels by the measurement's
    own interval. A rule holds when the whole interval lies on its side of the bound and fails when the whole
    interval lies on the other side; "does not fall by more than m" is thus a test of non-inferiority. Intervals
    are not adjusted for the number of goals: within a goal none is needed, as all its evidence must hold.
    """
    old, new = ({one.name: one for one in side} for side in (before, after))
    return [GoalVerdict(goal, tuple(_weigh(evidence, old, new) for evidence in goal.evidence)) for goal in goals.goals]


def _weigh(evidence: Evidence, before: Measured, after: Measured) -> EvidenceVerdict:
    """What one piece of evidence shows."""
    rule, name = evidence.rule, evidence.measure
    old, new = before.get(name), after.get(name)
    verdict = EvidenceVerdict(
        name=name,
        rule=evidence.words,
        outcome="not shown",
        reason="",
        bound=rule.bound,
        above=rule.above,
        interval_of=rule.of,
        before=old.value if old else None,
        after=new.value if new else None,
        n=new.n if new else 0,
        clusters=len(set(new.clusters)) if new else 0,
        method=new.method if new else "",
    )
    if new is None or new.value is None:
        return replace(verdict, reason=_absent(name, new, after))
    if rule.of == "after":
        outcome, reason = _outcome(rule, new.interval)
        return replace(verdict, interval=new.interval, outcome=outcome, reason=reason)
    if old is None or old.value is None:
        return replace(verdict, reason=f"Before training: {_absent(name, old, before)}")
    found = _difference(old, new)
    if found is None:
        return replace(verdict, reason="Before and after have no prompt in common, so the change has no interval.")
    outcome, reason = _outcome(rule, found.interval)
    if found.unmatched:
        reason += f" {found.unmatched} prompts measured on one side only are left out."
    return replace(
        verdict,
        difference=found.value,
        interval=found.interval,
        outcome=outcome,
        reason=reason,
        n=found.n,
        clusters=found.clusters,
        method=found.method,
    )


def _difference(before: Measurement, after: Measurement) -> Difference | None:
    if not before.values or not after.values:
        return None
    bounds = after.detail.get("bounds")
    return paired_difference(
        (before.values, before.clusters),
        (after.values, after.clusters),
        bounds=(bounds[0], bounds[1]) if bounds else None,
    )


def _outcome(rule: Rule, interval: tuple[float, float] | None) -> tuple[Outcome, str]:
    """What the interval says about the rule, and that in a sentence."""
    if interval is None:
        return "not shown", "There are too few prompts for an interval."
    # Mirrored where the rule asks to lie below, so that one comparison serves both.
    low, high, bound = (*interval, rule.bound) if rule.above else (-interval[1], -interval[0], -rule.bound)
    sign, what = ("+", "change") if rule.of == "difference" else ("", "value")
    low_end, high_end = (f"{end:{sign}.3f}".replace("-", "−") for end in interval)
    text = f"The 95 % interval of the {what}, {low_end} to {high_end},"
    side, other = ("above", "below") if rule.above else ("below", "above")
    place = f"{rule.bound:{sign if rule.bound else ''}g}".replace("-", "−")
    if low > bound or (low == bound and not rule.strict):
        return "holds", f"{text} lies {side} {place}."
    if high < bound or (high == bound and rule.strict):
        return "fails", f"{text} lies {other} {place}: the contrary is shown."
    return "not shown", f"{text} holds values on both sides of {place}."


def _absent(name: str, found: Measurement | None, measured: Measured) -> str:
    if found is not None:
        return f"Could not be measured: {found.detail.get('reason', 'no reason was given')}"
    near = difflib.get_close_matches(name, list(measured), n=1, cutoff=0.8)
    return "Not measured in this run." + (f" Did you mean {near[0]}?" if near else "")

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.goals import EvidenceVerdict
from trueup.reports import plots, wording

EVIDENCE = EvidenceVerdict(
    name="m",
    rule="does not fall by more than 0.05",
    outcome="holds",
    reason="",
    bound=-0.05,
    above=True,
    interval_of="difference",
    before=0.5,
    after=0.6,
    difference=0.1,
    interval=(0.05, 0.15),
    n=100,
    clusters=100,
    method="t",
)


def places(svg: str, kind: str, name: str) -> float:
    found = re.search(rf'class="{kind}"[^>]*?\b{name}="([-\d.]+)"', svg)
    assert found, (kind, svg)
    return float(found[1])


def test_the_dot_lies_on_its_line_and_beyond_the_bound() -> None:
    svg = plots.whisker(EVIDENCE, 0.2)
    bound, zero = places(svg, "bound", "x1"), places(svg, "zero", "x1")
    low, dot, high = places(svg, "interval", "x1"), places(svg, "dot", "cx"), places(svg, "interval", "x2")
    assert bound < zero == 100 < low < dot < high < 200
    assert dot - zero == pytest.approx(2 * (zero - bound), abs=0.15)
    assert places(svg, "side", "x") == bound


def test_a_level_is_drawn_about_the_level_asked_for() -> None:
    level = replace(EVIDENCE, interval_of="after", bound=0.9, above=False, interval=(0.55, 0.65))
    svg = plots.whisker(level, 0.2)
    assert places(svg, "bound", "x1") == 100
    assert 0 < places(svg, "interval", "x1") < places(svg, "dot", "cx") < 100
    assert (places(svg, "side", "x"), places(svg, "side", "width")) == (0, 100)


def test_rates_share_one_scale_and_tokens_do_not_stretch_it() -> None:
    tokens = replace(EVIDENCE, interval=(12.0, 30.0), difference=20.0)
    assert plots.common_reach([EVIDENCE, tokens]) == 0.2
    assert plots.common_reach([]) == 1.0
    assert places(plots.whisker(tokens, 0.2), "interval", "x2") <= 200


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_surround_the_values(one: float, other: float) -> None:
    low, high = sorted((one, other))
    ticks = plots.nice_ticks(low, high)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= 8
    assert len({plots.tick_label(tick, ticks) for tick in ticks}) == len(ticks)


def test_charts_of_a_preference_stage() -> None:
    steps = [
        {
            "step": i,
            "loss": 1 / i,
            "lr": 1e-4,
            "grad_norm": 2.0,
            "metrics": {"reward_margin": i / 10, "chosen_logratio": -i, "rejected_logratio": -2 * i, "odd_one": 3},
        }
        for i in range(1, 50)
    ]
    found = plots.charts(steps)
    assert [chart.title for chart in found] == [
        "Loss",
        "Log-ratio to the start",
        "Reward margin",
        "Odd one",
        "Gradient norm",
    ]
    assert [curve.name for curve in found[1].curves] == ["chosen_logratio", "rejected_logratio"]
    assert plots.line_chart(found[1]).count("<path") == 4
    assert plots.charts([{**step, **step["metrics"]} for step in steps])[2].title == "Reward margin"  # type: ignore[dict-item]


def test_what_is_no_number_is_not_drawn() -> None:
    steps = [{"step": 1, "loss": math.nan, "name": "x", "flag": True}, {"step": 2, "loss": 1.0}, {"step": 3, "loss": 2}]
    (chart,) = plots.charts(steps)
    assert chart.curves[0].points == ((2.0, 1.0), (3.0, 2.0))
    assert "nan" not in plots.line_chart(chart)
    assert plots.charts([{"step": 1, "loss": 1.0}]) == []


def test_long_curves_are_thinned_but_keep_their_end() -> None:
    points = [(float(i), math.sin(i)) for i in range(12_345)]
    kept = plots.thinned(points)
    assert len(kept) <= 302
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert plots.smoothed([(0, 5.0), (1, 5.0), (2, 5.0)]) == [(0, 5.0), (1, 5.0), (2, 5.0)]


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (None, False, "–"),
        (math.nan, False, "–"),
        (0.0, True, "0.000"),
        (0.12345, True, "+0.123"),
        (-0.12345, False, "−0.123"),
        (0.0004, False, "0.0004"),
        (0.00001, False, "1e−05"),
        (12.34, False, "12.3"),
        (240.0, False, "240"),
        (123456.7, False, "123,457"),
    ],
)
def test_numbers(value: float | None, sign: bool, text: str) -> None:
    assert wording.number(value, sign=sign) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (214, "3 min 34 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text

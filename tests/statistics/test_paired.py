from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from trueup.statistics import Difference, paired_difference


def compare(before: list[float], after: list[float], keys: list[str] | None = None, **options: object) -> Difference:
    keys = keys or [str(i) for i in range(len(before))]
    difference = paired_difference((before, keys), (after, keys), **options)  # type: ignore[arg-type]
    assert difference is not None
    return difference


def test_equals_the_paired_t_test_of_scipy() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=40), rng.normal(0.3, 1, size=40)
    expected = stats.ttest_rel(after, before).confidence_interval(0.95)
    difference = compare(before.tolist(), after.tolist())
    assert difference.interval == pytest.approx((expected.low, expected.high))
    assert difference.value == pytest.approx(float((after - before).mean()))
    assert (difference.n, difference.clusters, difference.method) == (40, 40, "paired t")


def test_order_of_items_does_not_matter() -> None:
    keys = ["a", "b", "c", "d"]
    straight = paired_difference(([0, 1, 0, 1], keys), ([1, 1, 0, 1], keys))
    turned = paired_difference(([1, 0, 1, 0], keys[::-1]), ([1, 1, 0, 1], keys))
    assert straight == turned


def test_only_clusters_of_both_sides_are_compared() -> None:
    difference = paired_difference(([0, 0, 9], ["a", "b", "only before"]), ([1, 2, 7, 7], ["b", "a", "x", "y"]))
    assert difference is not None
    assert (difference.value, difference.clusters, difference.unmatched) == (1.5, 2, 3)
    assert paired_difference(([1], ["a"]), ([1], ["b"])) is None


def test_one_cluster_has_no_interval() -> None:
    difference = compare([0, 1], [1, 1], ["a", "a"])
    assert difference.interval is None
    assert difference.value == 0.5


def test_bounded_values_follow_bonett_and_price() -> None:
    """Eight of fifty pairs rose and two fell: one more of each is added, and n + 2 taken."""
    before = [0.0] * 8 + [1.0] * 2 + [0.0] * 20 + [1.0] * 20
    after = [1.0] * 8 + [0.0] * 2 + [0.0] * 20 + [1.0] * 20
    rose, fell, n = 9 / 52, 3 / 52, 52
    centre = rose - fell
    # Bonett and Price divide by n and take the normal quantile; ours n - 1 and Student t.
    half = stats.t.ppf(0.975, n - 1) * ((rose + fell - centre**2) / (n - 1)) ** 0.5
    assert compare(before, after, bounds=(0, 1)).interval == pytest.approx((centre - half, centre + half))


def test_bounded_values_without_change_leave_room_for_some() -> None:
    assert compare([1.0] * 50, [1.0] * 50).interval == (0.0, 0.0)
    low, high = compare([1.0] * 50, [1.0] * 50, bounds=(0, 1)).interval or (0.0, 0.0)
    assert low == pytest.approx(-high)
    assert 0.04 < high < 0.08  # the rule of three says 3 / 50
    low, high = compare([0.0] * 50, [1.0] * 50, bounds=(0, 1)).interval or (0.0, 0.0)
    assert 0.8 < low < 1.0 == high


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_bootstrap_agrees_with_t_and_repeats(method: str) -> None:
    rng = np.random.default_rng(1)
    keys = [str(i // 3) for i in range(300)]
    before, after = rng.normal(size=300).tolist(), rng.normal(0.2, 1, size=300).tolist()
    drawn = compare(before, after, keys, method=method)
    assert drawn == compare(before, after, keys, method=method)
    assert drawn.interval == pytest.approx(compare(before, after, keys).interval, abs=0.03)
    assert drawn.method == f"paired bootstrap {method}, clustered"


def test_pairing_removes_what_prompts_share() -> None:
    rng = np.random.default_rng(2)
    hard = rng.normal(0, 5, size=80)
    before, after = hard + rng.normal(size=80) * 0.1, hard + 0.1 + rng.normal(size=80) * 0.1
    low, high = compare(before.tolist(), after.tolist()).interval or (0.0, 0.0)
    assert 0 < low < 0.1 < high < 0.2


@pytest.mark.parametrize(("per_prompt", "base"), [(1, 0.0), (1, 3.0), (4, 1.0)])
def test_covers_the_true_difference(per_prompt: int, base: float) -> None:
    """The interval holds the true rise of a rate at least about 95 % of the time, also near the ends."""
    rng = np.random.default_rng(3)

    def rate(easy: np.ndarray, shift: float) -> np.ndarray:
        return 1 / (1 + np.exp(-(1.5 * easy + base + shift)))

    many = rng.normal(size=400_000)
    truth = float((rate(many, 0.7) - rate(many, 0)).mean())
    keys = [str(i // per_prompt) for i in range(60 * per_prompt)]
    hits = 0
    for _ in range(600):
        easy = rng.normal(size=60)
        before, after = (
            (rng.random((60, per_prompt)) < rate(easy, shift)[:, None]).astype(float).ravel().tolist()
            for shift in (0.0, 0.7)
        )
        low, high = compare(before, after, keys, bounds=(0, 1)).interval or (0.0, 0.0)
        hits += low <= truth <= high
    assert hits / 600 >= 0.935

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from trueup.statistics import bootstrap, bootstrap_mean, by_cluster, mean, proportion, standard_error, wilson


@given(st.integers(1, 500), st.data(), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_scipy(n: int, draw: st.DataObject, confidence: float) -> None:
    k = draw.draw(st.integers(0, n))
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert wilson(k, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_matches_newcombe_1998() -> None:
    # Newcombe 1998, Statistics in Medicine 17, table I: 81/263 and 15/148, Wilson without continuity correction.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_wilson_refuses_impossible_counts() -> None:
    for successes, n in [(3, 2), (-1, 2), (0, 0)]:
        with pytest.raises(ValueError, match="successes out of"):
            wilson(successes, n)


def test_standard_error_of_single_items_is_the_usual_one() -> None:
    values = np.random.default_rng(0).normal(size=37)
    assert standard_error(values) == pytest.approx(stats.sem(values))


def test_standard_error_of_equal_clusters_is_that_of_their_means() -> None:
    values = np.random.default_rng(1).normal(size=(20, 4))
    keys = [f"prompt {i}" for i in range(20) for _ in range(4)]
    assert standard_error(values.ravel(), keys) == pytest.approx(stats.sem(values.mean(axis=1)))


def test_standard_error_of_unequal_clusters_by_hand() -> None:
    # mean 2.5; influences (1 + 2 - 5) / 4 = -0.5, (6 - 2.5) / 4 = 0.875, (1 - 2.5) / 4 = -0.375; C / (C - 1) = 3 / 2
    assert standard_error([1, 2, 6, 1], ["a", "a", "b", "c"]) == pytest.approx(
        (1.5 * (0.25 + 0.765625 + 0.140625)) ** 0.5
    )


def test_repeating_every_item_does_not_narrow_the_interval() -> None:
    values = [0.0, 1, 1, 0, 1, 1, 1, 0, 1, 1]
    keys = [str(i) for i in range(10)]
    assert standard_error(values * 5, keys * 5) == pytest.approx(standard_error(values, keys))
    once, often = proportion(values, keys), proportion(values * 5, keys * 5)
    assert often.interval is not None
    assert once.interval is not None
    assert often.clusters == 10
    assert often.n == 50
    # The sandwich divides by C - 1, Wilson by C: a little wider, never narrower.
    assert often.interval[0] <= once.interval[0] < once.interval[1] <= often.interval[1]


def test_proportion_is_wilson_for_independent_zeros_and_ones() -> None:
    estimate = proportion([1, 0, 1, 1])
    assert (estimate.value, estimate.n, estimate.method) == (0.75, 4, "Wilson")
    assert estimate.interval == wilson(3, 4)


def test_proportion_without_spread_counts_clusters() -> None:
    estimate = proportion([1.0] * 60, [i // 3 for i in range(60)])
    assert estimate.interval == wilson(20, 20)
    assert estimate.method == "Wilson, clustered"
    assert proportion([0.5] * 8).interval == wilson(4, 8)


def test_answers_that_differ_within_a_prompt_count_at_most_as_themselves() -> None:
    values = [1, 0] * 18 + [1, 1, 0, 0]
    assert proportion(values, [i // 2 for i in range(40)]).interval == pytest.approx(wilson(20, 40))


def test_proportion_of_scores_is_about_the_t_interval() -> None:
    values = np.random.default_rng(2).beta(3, 4, size=400)
    ours, t = proportion(values).interval, mean(values).interval
    assert ours == pytest.approx(t, abs=1e-3)


def test_proportion_refuses_what_is_no_rate() -> None:
    with pytest.raises(ValueError, match="outside"):
        proportion([0.2, 1.4])


def test_mean_equals_scipy() -> None:
    values = np.random.default_rng(3).normal(5, 2, size=23)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean(values).interval == pytest.approx((expected.low, expected.high))


def test_one_cluster_has_no_interval() -> None:
    assert mean([1.0, 2.0], ["a", "a"]).interval is None
    assert bootstrap_mean([1.0, 2.0], ["a", "a"]).interval is None
    assert standard_error([1.0, 2.0], ["a", "a"]) == float("inf")


@pytest.mark.parametrize(
    ("values", "keys", "message"),
    [([], None, "at least one"), ([1.0, float("nan")], None, "not a finite"), ([1.0], ["a", "b"], "1 values but 2")],
)
def test_bad_values_are_refused(values: list[float], keys: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        by_cluster(values, keys)


def test_bootstrap_is_seeded_and_close_to_t() -> None:
    values = np.random.default_rng(4).normal(size=200)
    first, again = bootstrap_mean(values, seed=1), bootstrap_mean(values, seed=1)
    assert first == again
    assert first.interval != bootstrap_mean(values, seed=2).interval
    assert first.interval == pytest.approx(mean(values).interval, abs=0.02)


def test_bootstrap_resamples_whole_clusters() -> None:
    rng = np.random.default_rng(5)
    values = np.repeat(rng.normal(size=60), 10)
    keys = [i // 10 for i in range(600)]
    clustered, naive = bootstrap_mean(values, keys).interval, bootstrap_mean(values).interval
    assert clustered is not None
    assert naive is not None
    assert (clustered[1] - clustered[0]) / (naive[1] - naive[0]) == pytest.approx(10**0.5, rel=0.1)


def test_bca_and_percentile_equal_scipy_on_a_skewed_sample() -> None:
    values = np.random.default_rng(6).exponential(size=30)
    for kind in ("BCa", "percentile"):
        expected = stats.bootstrap(
            (values,), np.mean, n_resamples=5000, method=kind, rng=np.random.default_rng(0)
        ).confidence_interval
        assert bootstrap_mean(values, kind=kind).interval == pytest.approx((expected.low, expected.high))
    assert bootstrap_mean(values).interval[0] > bootstrap_mean(values, kind="percentile").interval[0]  # type: ignore[index]


def test_bootstrap_of_equal_values_is_that_value() -> None:
    assert bootstrap_mean([2.0] * 5).interval == (2.0, 2.0)


def test_bootstrap_needs_two_entries() -> None:
    with pytest.raises(ValueError, match="two clusters"):
        bootstrap(lambda x, axis: x.mean(axis), np.ones(1))


@pytest.mark.parametrize("rate", [0.03, 0.3, 0.9])
def test_clustered_wilson_covers(rate: float) -> None:
    """95 % intervals hold the truth about 95 % of the time when answers to one prompt resemble one another."""
    rng = np.random.default_rng(7)
    keys = [i // 4 for i in range(240)]
    hits = 0
    for _ in range(400):
        own = rng.beta(rate * 4, (1 - rate) * 4, size=60)
        values = (rng.random((60, 4)) < own[:, None]).astype(float).ravel()
        interval = proportion(values, keys).interval
        assert interval is not None
        hits += interval[0] <= rate <= interval[1]
    assert 0.91 <= hits / 400 <= 0.995

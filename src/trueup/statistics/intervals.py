"""Intervals for one mean or one rate."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from trueup.statistics.clusters import by_cluster, sandwich


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; `n` items in `clusters` clusters, and `method`, which names the interval.

    `interval` is None when the data cannot give one (a single cluster).
    """

    value: float
    interval: tuple[float, float] | None
    n: int
    clusters: int
    method: str


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a rate (Wilson 1927); `successes` and `n` may be fractional.

    Equals `scipy.stats.binomtest(k, n).proportion_ci(method="wilson")` on whole numbers.
    """
    if not 0 <= successes <= n or n <= 0:
        raise ValueError(f"{successes} successes out of {n}")
    z = normal_quantile(confidence)
    rate, spread = successes / n, z * z / n
    centre = (rate + spread / 2) / (1 + spread)
    half = z * math.sqrt(rate * (1 - rate) / n + spread / (4 * n)) / (1 + spread)
    # At the ends the formula gives exactly 0 and 1; rounding must not carry it past them.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def proportion(values: ArrayLike, clusters: Sequence[Hashable] | None = None, confidence: float = 0.95) -> Estimate:
    """The mean of `values` [n] in [0, 1] (rates, scores, wins with ties half) with a Wilson interval.

    Where items share a cluster or lie between 0 and 1, n is replaced by the effective sample size
    p (1 - p) / se^2 with the clustered standard error (Korn and Graubard 1998), at most n for plain zeros and ones;
    where the standard error says nothing (all values equal) by the number of clusters.

    Raises:
        ValueError: no values, or one outside [0, 1].
    """
    array = np.asarray(values, dtype=np.float64)
    groups = by_cluster(array, clusters)
    if array.min() < 0 or array.max() > 1:
        raise ValueError("a value lies outside [0, 1]")
    n, rate, error = array.size, min(1.0, groups.mean), sandwich(groups.influence)
    binary = bool(np.isin(array, (0.0, 1.0)).all())
    if binary and len(groups) == n:
        return Estimate(rate, wilson(float(array.sum()), n, confidence), n, n, "Wilson")
    effective = float(len(groups))
    if 0 < error < math.inf:
        effective = rate * (1 - rate) / error**2
        effective = min(effective, n) if binary else effective
    elif len(groups) == 1:
        effective = 1.0
    method = "Wilson, clustered" if len(groups) < n else "Wilson, effective n"
    return Estimate(rate, wilson(rate * effective, effective, confidence), n, len(groups), method)


def mean(values: ArrayLike, clusters: Sequence[Hashable] | None = None, confidence: float = 0.95) -> Estimate:
    """The mean of `values` [n] with a Student t interval on the clustered standard error, C - 1 degrees of freedom."""
    groups = by_cluster(values, clusters)
    n, size = int(groups.counts.sum()), len(groups)
    method = "Student t, clustered" if size < n else "Student t"
    if size == 1:
        return Estimate(groups.mean, None, n, size, method)
    half = t_quantile(size - 1, confidence) * sandwich(groups.influence)
    return Estimate(groups.mean, (groups.mean - half, groups.mean + half), n, size, method)


def normal_quantile(confidence: float) -> float:
    """How many standard errors a two-sided interval reaches, normal."""
    return float(stats.norm.ppf((1 + confidence) / 2))


def t_quantile(freedom: float, confidence: float) -> float:
    """How many standard errors a two-sided interval reaches, Student t."""
    return float(stats.t.ppf((1 + confidence) / 2, freedom))

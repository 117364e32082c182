"""Bootstrap intervals that resample whole clusters."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from trueup.statistics.clusters import Floats, by_cluster
from trueup.statistics.intervals import Estimate

Kind = Literal["percentile", "BCa"]


def bootstrap(
    statistic: Callable[..., Floats],
    *columns: Floats,
    kind: Kind = "BCa",
    confidence: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> tuple[float, float]:
    """The bootstrap interval of `statistic`, resampling the C entries of all `columns` [C] together.

    `statistic(*columns, axis)` must work along `axis` on stacks of resamples. An entry is a whole cluster: pass
    each cluster's sums and counts, and a ratio of their totals is the clustered mean. BCa corrects the percentile
    interval for bias and skewness (Efron 1987); `scipy.stats.bootstrap` does the work. When every resample gives
    the same number that number is both ends.

    Raises:
        ValueError: fewer than two entries.
    """
    if columns[0].size < 2:
        raise ValueError("a bootstrap needs at least two clusters")

    def run(method: Literal["percentile", "BCa"]) -> tuple[float, float]:
        result = stats.bootstrap(
            columns,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            confidence_level=confidence,
            method=method,
            batch=max(1, 2_000_000 // columns[0].size),
            rng=np.random.default_rng(seed),
        )
        return float(result.confidence_interval.low), float(result.confidence_interval.high)

    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        low, high = run(kind)
        # BCa divides by the jackknife's spread; where there is none, there is nothing to correct either.
        return (low, high) if np.isfinite((low, high)).all() else run("percentile")


def bootstrap_mean(
    values: ArrayLike,
    clusters: Sequence[Hashable] | None = None,
    *,
    kind: Kind = "BCa",
    confidence: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> Estimate:
    """The mean of `values` [n] with a bootstrap interval over clusters; seeded, so it repeats exactly."""
    groups = by_cluster(values, clusters)
    n, size = int(groups.counts.sum()), len(groups)
    method = f"bootstrap {kind}" + (", clustered" if size < n else "")
    if size == 1:
        return Estimate(groups.mean, None, n, size, method)
    interval = bootstrap(
        ratio, groups.sums, groups.counts, kind=kind, confidence=confidence, resamples=resamples, seed=seed
    )
    return Estimate(groups.mean, interval, n, size, method)


def ratio(sums: Floats, counts: Floats, axis: int = -1) -> Floats:
    """The mean over all items of resampled clusters."""
    return sums.sum(axis=axis) / counts.sum(axis=axis)

"""The difference between two measurements of the same items, compared cluster by cluster."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from trueup.statistics.bootstrap import bootstrap, ratio
from trueup.statistics.clusters import Clusters, Floats, by_cluster, sandwich
from trueup.statistics.intervals import t_quantile


@dataclass(frozen=True)
class Difference:
    """`value` = after - before over the clusters that both have, with its interval.

    `n` counts items (the smaller side's) and `clusters` the matched clusters; `unmatched` the clusters that only
    one side has, which are left out. `interval` is None when fewer than two clusters match.
    """

    value: float
    interval: tuple[float, float] | None
    n: int
    clusters: int
    unmatched: int
    method: str


def paired_difference(
    before: tuple[ArrayLike, Sequence[Hashable]],
    after: tuple[ArrayLike, Sequence[Hashable]],
    *,
    bounds: tuple[float, float] | None = None,
    method: Literal["t", "percentile", "BCa"] = "t",
    confidence: float = 0.95,
    resamples: int = 5000,
    seed: int = 0,
) -> Difference | None:
    """Compares `after` with `before`, each (values [n], cluster keys [n]); None when no cluster matches.

    The two sides may hold different numbers of items per cluster. `t` uses the clustered standard error of the
    difference and C - 1 degrees of freedom; `percentile` and `BCa` resample whole clusters.

    `bounds` are the smallest and largest value an item can have. With them, `t` adds one imaginary cluster that rose
    by the whole range and one that fell by it (the adjustment of Bonett and Price 2012 for paired rates, carried
    over to clusters): fifty items that all stayed at 1 then leave room for a small change instead of claiming
    none, and the interval stays within what is possible.

    Raises:
        ValueError: a side is empty, not finite, or its lengths differ.
    """
    old, new = by_cluster(*before), by_cluster(*after)
    known = set(new.keys)
    keys = [key for key in old.keys if key in known]
    unmatched = len(old) + len(new) - 2 * len(keys)
    if not keys:
        return None
    old, new = old.among(keys), new.among(keys)
    n = int(min(old.counts.sum(), new.counts.sum()))
    value = new.mean - old.mean
    if len(keys) == 1:
        return Difference(value, None, n, 1, unmatched, "one cluster: no interval")
    if method == "t":
        interval, name = _normal(old, new, bounds, confidence), "paired t" + (", adjusted" if bounds else "")
    else:
        columns = (old.sums, old.counts, new.sums, new.counts)
        interval = bootstrap(_difference, *columns, kind=method, confidence=confidence, resamples=resamples, seed=seed)
        name = f"paired bootstrap {method}"
    if len(keys) < max(old.counts.sum(), new.counts.sum()):
        name += ", clustered"
    return Difference(value, interval, n, len(keys), unmatched, name)


def _difference(old_sums: Floats, old_counts: Floats, new_sums: Floats, new_counts: Floats, axis: int = -1) -> Floats:
    return ratio(new_sums, new_counts, axis) - ratio(old_sums, old_counts, axis)


def _normal(old: Clusters, new: Clusters, bounds: tuple[float, float] | None, confidence: float) -> tuple[float, float]:
    size, value = len(old), new.mean - old.mean
    influence = new.influence - old.influence
    if bounds is None:
        half = t_quantile(size - 1, confidence) * sandwich(influence)
        return value - half, value + half
    # The influence of a cluster on a difference of means over C clusters is (its difference - the mean) / C.
    span = bounds[1] - bounds[0]
    differences = np.append(value + influence * size, (span, -span))
    centre = float(differences.mean())
    half = t_quantile(size + 1, confidence) * sandwich((differences - centre) / differences.size)
    return max(-span, centre - half), min(span, centre + half)

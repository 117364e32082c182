"""Items that belong together (answers to one prompt) counted as one piece of evidence, not as many."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Clusters:
    """C clusters of items: `keys` [C] in order of first appearance, each one's `sums` [C] and `counts` [C]."""

    keys: tuple[Hashable, ...]
    sums: Floats
    counts: Floats

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def mean(self) -> float:
        """The mean over items: every item weighs alike, so a larger cluster weighs more."""
        return float(self.sums.sum() / self.counts.sum())

    @property
    def influence(self) -> Floats:
        """How far each cluster pulls the mean away from itself [C]; sums to zero."""
        return (self.sums - self.mean * self.counts) / self.counts.sum()

    def among(self, keys: Sequence[Hashable]) -> Clusters:
        """The clusters with these keys, in this order."""
        place = {key: i for i, key in enumerate(self.keys)}
        ids = [place[key] for key in keys]
        return Clusters(tuple(keys), self.sums[ids], self.counts[ids])


def by_cluster(values: ArrayLike, clusters: Sequence[Hashable] | None = None) -> Clusters:
    """Groups `values` [n] by their cluster keys [n]; without keys every item is its own cluster.

    Raises:
        ValueError: there are no values, one is not finite, or the lengths differ.
    """
    array = np.asarray(values, dtype=np.float64)
    keys = range(array.size) if clusters is None else clusters
    if array.ndim != 1 or array.size == 0:
        raise ValueError("needs a list of at least one value")
    if len(keys) != array.size:
        raise ValueError(f"{array.size} values but {len(keys)} cluster keys")
    if not np.isfinite(array).all():
        raise ValueError("a value is not a finite number; leave missing values out and count them")
    number: dict[Hashable, int] = {}
    index = np.fromiter((number.setdefault(key, len(number)) for key in keys), dtype=np.int64, count=array.size)
    sums = np.bincount(index, weights=array).astype(np.float64)
    return Clusters(tuple(number), sums, np.bincount(index).astype(np.float64))


def standard_error(values: ArrayLike, clusters: Sequence[Hashable] | None = None) -> float:
    """Standard error of the mean of `values` [n] when items of one cluster are not independent.

    The linearised (sandwich) form sqrt(C / (C - 1) * sum_c influence_c^2) (Cameron and Miller 2015, section II);
    with one item per cluster it is the usual s / sqrt(n). Infinite when there is only one cluster.
    """
    return sandwich(by_cluster(values, clusters).influence)


def sandwich(influence: Floats) -> float:
    """The standard error of a sum of C independent, centred influences [C]."""
    n = influence.size
    return math.sqrt(n / (n - 1) * float(influence @ influence)) if n > 1 else math.inf

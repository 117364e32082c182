"""Intervals, agreement and tests: numpy and scipy only."""

from trueup.statistics.bootstrap import bootstrap, bootstrap_mean
from trueup.statistics.clusters import Clusters, by_cluster, standard_error
from trueup.statistics.intervals import Estimate, mean, proportion, wilson
from trueup.statistics.paired import Difference, paired_difference

__all__ = [
    "Clusters",
    "Difference",
    "Estimate",
    "bootstrap",
    "bootstrap_mean",
    "by_cluster",
    "mean",
    "paired_difference",
    "proportion",
    "standard_error",
    "wilson",
]

"""Reports: what was shown, goal by goal, in one page."""

from trueup.reports.page import render, write
from trueup.reports.summary import DataSource, RunSummary, SampleRow, Stage
from trueup.reports.terminal import print_verdicts

__all__ = ["DataSource", "RunSummary", "SampleRow", "Stage", "print_verdicts", "render", "write"]

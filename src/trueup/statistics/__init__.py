"""Intervals, agreement and tests: numpy and scipy only."""

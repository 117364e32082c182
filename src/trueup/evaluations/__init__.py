"""Evaluations: what a policy does, measured with intervals."""

"""Policies: a language model as a distribution over responses."""

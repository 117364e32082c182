"""The catalogue of methods: one entry per method, made by the `@method` line above its definition."""

from trueup.catalog.registry import Entry, entries, find, method

__all__ = ["Entry", "entries", "find", "method"]

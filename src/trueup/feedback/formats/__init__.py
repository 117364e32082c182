"""Every format `load` knows, in the order it tries them: particular ones first, general ones behind.

A new format is one function under one `@reads` line in one of these modules.
"""

from __future__ import annotations

import importlib

from trueup.feedback.formats.base import FORMATS, Format, LeftOut, Lost

for _module in (
    "own",
    "transcripts",
    "comparisons",
    "votes",
    "reviews",
    "trees",
    "solutions",
    "shapes",
    "pairs",
    "fields",
    "demonstrations",
    "prompts",
):
    importlib.import_module(f"{__name__}.{_module}")

__all__ = ["FORMATS", "Format", "LeftOut", "Lost"]

"""Prompts without a response: the last thing `load` recognises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trueup.feedback.formats.base import not_feedback

_PROMPTS = ("prompt", "instruction", "question", "turns", "text")
# Words in a key that promise something was said in answer, so that a misspelt key is not taken for a bare prompt.
_ANSWERS = ("chosen", "reject", "respon", "complet", "answer", "output", "rank", "score", "critique", "choos", "reply")


def _only_prompts(data: Mapping[str, Any]) -> bool:
    return any(name in data for name in _PROMPTS) and not any(word in key.lower() for key in data for word in _ANSWERS)


not_feedback(
    "prompts",
    "prompts without a response: sample from a model and judge what it says, or use them as a benchmark.",
    when=_only_prompts,
)

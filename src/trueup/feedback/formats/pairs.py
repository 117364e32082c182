"""Chosen and rejected, in the ways trainers expect them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.formats.base import Lost, Parsed, reads
from trueup.feedback.formats.dialogue import dropped, parted
from trueup.feedback.formats.values import flag, messages, number, optional_text, prompt_of, reply, shared, text, user
from trueup.feedback.reading import Row
from trueup.feedback.records import Pair, Prompt

WHOLE_TEXTS = "there is no prompt; the whole texts are compared"


@reads("prompt/chosen/rejected", Pair, "a prompt, a chosen and a rejected response", "prompt", "chosen", "rejected")
def explicit(row: Row) -> Parsed:
    """Strings or messages; messages may repeat the prompt, as in UltraFeedback's binarised form."""
    data = row.data
    return [_pair(data, prompt_of(data), "prompt"), *dropped(data["prompt"], data["chosen"], data["rejected"])]


@reads(
    "instruction/chosen/rejected",
    Pair,
    "an instruction (with input, system) and two responses",
    "instruction",
    "chosen",
    "rejected",
)
@reads("question/chosen/rejected", Pair, "a question (with system) and two responses", "question", "chosen", "rejected")
def asked(row: Row) -> Pair:
    """The forms of LLaMA-Factory and of the Orca pairs."""
    data = row.data
    key = "instruction" if "instruction" in data else "question"
    given = optional_text(data, "input")
    ask = text(data, key) if given is None else f"{text(data, key)}\n\n{given}"
    return _pair(data, user(ask, optional_text(data, "system")), key, "input", "system")


@reads(
    "conversations/chosen/rejected",
    Pair,
    "a dialogue and two ways to go on",
    "conversations",
    "chosen",
    "rejected",
)
def continued(row: Row) -> Pair:
    """The preference form of ShareGPT."""
    return _pair(row.data, messages(row.data["conversations"], "conversations"), "conversations")


@reads(
    "chosen/rejected messages",
    Pair,
    "two dialogues as messages with a common beginning",
    "chosen",
    "rejected",
    when=lambda data: "prompt" not in data and isinstance(data["chosen"], list),
)
def implicit(row: Row) -> Parsed:
    """The prompt is the common beginning in whole messages; see `dialogue.parted`."""
    chosen, rejected = messages(row.data["chosen"], "chosen"), messages(row.data["rejected"], "rejected")
    return [*parted(chosen, rejected, **_said(row.data)), *dropped(row.data["chosen"], row.data["rejected"])]


@reads(
    "chosen/rejected texts",
    Pair,
    "two texts without a prompt",
    "chosen",
    "rejected",
    when=lambda data: "prompt" not in data and isinstance(data["chosen"], str),
)
def texts(row: Row) -> Parsed:
    """Where a prompt would end is not guessed: the whole texts are compared, and that is counted as lost."""
    data = row.data
    pair = Pair(prompt=[], chosen=text(data, "chosen"), rejected=text(data, "rejected"), **_said(data))
    return [pair, Lost(WHOLE_TEXTS)]


def _pair(data: Mapping[str, Any], prompt: Prompt, *used: str) -> Pair:
    chosen, rejected = data["chosen"], data["rejected"]
    if chosen is None or rejected is None:
        raise FeedbackError(f"{'chosen' if chosen is None else 'rejected'!r} is missing.")
    return Pair(
        prompt=prompt,
        chosen=reply(chosen, "chosen", prompt),
        rejected=reply(rejected, "rejected", prompt),
        **_said(data, *used),
    )


def _said(data: Mapping[str, Any], *used: str) -> dict[str, Any]:
    return {
        "strength": number(data, "strength") if "strength" in data else None,
        "tie": flag(data, "tie") if data.get("tie") is not None else False,
        **shared(data, "chosen", "rejected", "strength", "tie", *used),
    }

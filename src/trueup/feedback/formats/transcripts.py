"""Dialogues written as one text, "Human: ... Assistant: ...", as Anthropic's HH set has them."""

from __future__ import annotations

from trueup.feedback.formats.base import Parsed, reads
from trueup.feedback.formats.dialogue import answers, is_transcript, parted, turns
from trueup.feedback.formats.values import others
from trueup.feedback.reading import Row
from trueup.feedback.records import Demonstration, Pair


@reads(
    "HH transcripts",
    Pair,
    "two dialogues with a common beginning",
    "chosen",
    "rejected",
    when=lambda data: "prompt" not in data and is_transcript(data["chosen"]) and is_transcript(data["rejected"]),
)
def hh(row: Row) -> Parsed:
    """The prompt is the common beginning in whole turns; see `dialogue.parted`."""
    chosen, rejected = turns(row.data["chosen"]), turns(row.data["rejected"])
    return parted(chosen, rejected, extra=others(row.data, "chosen", "rejected"))


@reads("transcript", Demonstration, "a dialogue as one text", "text", when=lambda data: is_transcript(data["text"]))
def whole(row: Row) -> Parsed:
    """One demonstration for every answer of the assistant."""
    return answers(turns(row.data["text"]), extra=others(row.data, "text"))

"""Feedback: what people and judges said about responses.

`load(path)` reads a file in any known format into a `Feedback`, an immutable sequence of records of one kind;
`Feedback.to` converts it to another kind and says what is lost; `check` reports on it and `require_trainable`
refuses records that would break training.
"""

from trueup.feedback.check import Report, check, only_trainable, require_trainable
from trueup.feedback.collection import Feedback
from trueup.feedback.loading import load
from trueup.feedback.records import (
    KINDS,
    Critique,
    Demonstration,
    Edit,
    Label,
    Mark,
    Message,
    Pair,
    Part,
    Prompt,
    Ranking,
    Record,
    Scores,
    Steps,
    content_text,
    text_of,
)

__all__ = [
    "KINDS",
    "Critique",
    "Demonstration",
    "Edit",
    "Feedback",
    "Label",
    "Mark",
    "Message",
    "Pair",
    "Part",
    "Prompt",
    "Ranking",
    "Record",
    "Report",
    "Scores",
    "Steps",
    "check",
    "content_text",
    "load",
    "only_trainable",
    "require_trainable",
    "text_of",
]

"""Dialogues: transcripts into messages, and where two of them part."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.formats.base import Lost
from trueup.feedback.records import Demonstration, Message, Pair, Prompt, content_text

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}
_NAMES = {"user": "Human", "assistant": "Assistant", "system": "System", "tool": "Tool"}
EARLIER = (
    "the two dialogues part before their last turn; each response is all that follows the last common turn, "
    "later turns included, as one text"
)


def is_transcript(value: object) -> bool:
    """Whether `value` is a text that starts as a dialogue does in Anthropic's sets: "\\n\\nHuman:"."""
    return isinstance(value, str) and _TURN.match(value) is not None


def turns(text: str) -> Prompt:
    """The messages of a transcript. One space behind a speaker's name belongs to the name, not to the message.

    Raises:
        FeedbackError: the text does not start with a speaker.
    """
    parts = _TURN.split(text)
    if parts[0].strip() or len(parts) < 3:
        raise FeedbackError('a transcript must start with "\\n\\nHuman:" or "\\n\\nAssistant:".')
    return [
        {"role": _ROLES[name], "content": said.removeprefix(" ")}
        for name, said in zip(parts[1::2], parts[2::2], strict=True)
    ]


def dropped(*written: Any) -> list[Lost]:
    """What messages as they stand in a file say beside speaker and content (names, weights, ids): it is not kept."""
    listed = [message for value in written for message in (value if isinstance(value, list) else [value])]
    known = {"role", "content", "from", "value"}
    further = {
        key for message in listed if isinstance(message, Mapping) for key, said in message.items() if said
    } - known
    return (
        [Lost(f"the messages have further fields, which are not kept ({', '.join(sorted(further))})")]
        if further
        else []
    )


def parted(chosen: Prompt, rejected: Prompt, **fields: Any) -> list[Pair | Lost]:
    """The pair of two whole dialogues: their common beginning is the prompt, what follows the two responses.

    Some dialogues part earlier than at their last turn. People then compared whole continuations, so each response
    keeps its later turns, as one text with the speakers named, `extra["turns"]` counts the turns of each, and the
    record is counted as having lost them. Two equal dialogues keep their last turn as the (equal) response.

    Raises:
        FeedbackError: they part at a turn that is not the assistant's, or do not end with the assistant.
    """
    common = 0
    while common < min(len(chosen), len(rejected)) - 1 and chosen[common] == rejected[common]:
        common += 1
    ends = chosen[common:], rejected[common:]
    for end in ends:
        if not end or end[0]["role"] != "assistant":
            raise FeedbackError("the two dialogues do not part at an answer of the assistant.")
        if end[-1]["role"] != "assistant":
            raise FeedbackError("a dialogue does not end with an answer of the assistant.")
    longest = max(len(end) for end in ends)
    if longest > 1:
        fields["extra"] = {**fields.get("extra", {}), "turns": [len(end) for end in ends]}
    pair = Pair(prompt=chosen[:common], chosen=_continuation(ends[0]), rejected=_continuation(ends[1]), **fields)
    return [pair, Lost(EARLIER)] if longest > 1 else [pair]


def answers(said: Prompt, **fields: Any) -> list[Demonstration]:
    """A demonstration for every assistant message of a dialogue, with all that went before as its prompt.

    Raises:
        FeedbackError: the assistant says nothing in it.
    """
    found = [
        Demonstration(prompt=said[:i], response=_text(message), **fields)
        for i, message in enumerate(said)
        if message["role"] == "assistant"
    ]
    if not found:
        raise FeedbackError("the dialogue has no message of the assistant.")
    return found


def _continuation(said: Sequence[Message]) -> str:
    """The messages as one text; the first speaker, the assistant, is not named."""
    later = (f"\n\n{_NAMES[message['role']]}: {_text(message)}" for message in said[1:])
    return _text(said[0]) + "".join(later)


def _text(message: Message) -> str:
    content = message["content"]
    if not isinstance(content, str) and any(part["type"] != "text" for part in content):
        raise FeedbackError("a response must be text alone, and this one holds an image.")
    return content_text(content)

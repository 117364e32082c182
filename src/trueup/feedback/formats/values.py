"""Reading single values out of a row, with errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.records import Message, Part, Prompt

# The names data sets give to the speakers of a dialogue.
SPEAKERS = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}


def text(data: Mapping[str, Any], key: str) -> str:
    """The text under `key`."""
    value = data[key]
    if not isinstance(value, str):
        raise FeedbackError(f"{key!r} must be text, found {_noun(value)}.")
    return value


def optional_text(data: Mapping[str, Any], key: str) -> str | None:
    """The text under `key`, None where there is none; a number (an id) becomes its digits."""
    value = data.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return text(data, key)


def number(data: Mapping[str, Any], key: str) -> float | None:
    """The number under `key` (also as text, as in CSV), None where it is missing or says it is (N/A, nan)."""
    value = data[key]
    if isinstance(value, str):
        if value.strip().lower() in ("", "n/a", "na", "nan", "none", "null"):
            return None
        try:
            value = float(value)
        except ValueError:
            raise FeedbackError(f"{key!r} must be a number, found {value!r}.") from None
    if value is None or value != value:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FeedbackError(f"{key!r} must be a number, found {_noun(value)}.")
    return value


def flag(data: Mapping[str, Any], key: str) -> bool:
    """The true or false under `key`, which files also write as 1 and 0 or as words."""
    value = data[key]
    if isinstance(value, str):
        value = {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower(), value)
    if value in (0, 1) and isinstance(value, bool | int | float):
        return bool(value)
    raise FeedbackError(f"{key!r} must be true or false, found {value!r}.")


def user(content: str, system: str | None = None) -> Prompt:
    """A prompt of one user message, behind a system message where there is one."""
    first: Prompt = [{"role": "system", "content": system}] if system else []
    return [*first, {"role": "user", "content": content}]


def prompt_of(data: Mapping[str, Any], key: str = "prompt") -> Prompt:
    """The prompt under `key`: text becomes a user message, messages stay messages."""
    value = data[key]
    return user(value) if isinstance(value, str) else messages(value, key)


def messages(value: Any, key: str) -> Prompt:
    """Chat messages in OpenAI's form (role, content) or ShareGPT's (from, value)."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        raise FeedbackError(f"{key!r} must be text or a list of messages, found {_noun(value)}.")
    return [_message(item, key) for item in value]


def reply(value: Any, key: str, prompt: Prompt) -> str:
    """The one response under `key`: text, an assistant's message, or the prompt's messages with it behind them."""
    if isinstance(value, str):
        return value
    said = messages(value, key)
    if said[: len(prompt)] == prompt:
        said = said[len(prompt) :]
    return single(said, key)


def single(said: Sequence[Message], key: str) -> str:
    """The text of the assistant's one message."""
    if len(said) != 1 or said[0]["role"] != "assistant":
        roles = ", ".join(message["role"] for message in said) or "none"
        raise FeedbackError(f"{key!r} must hold one assistant message behind the prompt, found {len(said)} ({roles}).")
    content = said[0]["content"]
    if not isinstance(content, str):
        parts = [part.get("text") for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise FeedbackError(f"{key!r} must be a response of text alone.")
        content = "".join(part for part in parts if part)
    return content


def others(data: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """The fields nothing was read from, for `extra`."""
    return {key: value for key, value in data.items() if key not in used and value is not None}


def shared(data: Mapping[str, Any], *used: str) -> dict[str, Any]:
    """The fields that all kinds share, where the row has them under trueup's names; all else goes to `extra`."""
    names = ("id", "annotator", "source", "goal")
    fields: dict[str, Any] = {name: optional_text(data, name) for name in names}
    fields["id"] = fields["id"] or ""
    extra = data.get("extra")
    if isinstance(extra, Mapping):
        return {**fields, "extra": {**others(data, *used, *names, "extra"), **extra}}
    return {**fields, "extra": others(data, *used, *names)}


def _message(item: Any, key: str) -> Message:
    if not isinstance(item, Mapping):
        raise FeedbackError(f"a message in {key!r} must be an object, found {_noun(item)}.")
    speaker = item.get("role", item.get("from"))
    content = item.get("content", item.get("value"))
    if item.get("tool_calls"):
        raise FeedbackError(f"a message in {key!r} calls tools, which trueup's messages cannot hold.")
    if not isinstance(speaker, str) or speaker.lower() not in SPEAKERS:
        raise FeedbackError(f"a message in {key!r} has the speaker {speaker!r}; known: {', '.join(SPEAKERS)}.")
    if isinstance(content, list):
        content = [_part(part, key) for part in content]
    elif not isinstance(content, str):
        raise FeedbackError(f"a message in {key!r} has no text (its content is {_noun(content)}).")
    return {"role": SPEAKERS[speaker.lower()], "content": content}


def _part(part: Any, key: str) -> Part:
    match part:
        case {"type": "text", "text": str(words)}:
            return {"type": "text", "text": words}
        case {"type": "image", "image": str(path)} | {"type": "image_url", "image_url": {"url": str(path)}}:
            return {"type": "image", "image": path}
    raise FeedbackError(f"a message in {key!r} has a part that is neither text nor an image with its path.")


def _noun(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "text", type(None): "nothing", bool: "true or false"}
    return names.get(type(value), "a number")

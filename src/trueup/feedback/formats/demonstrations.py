"""A prompt and the response to imitate."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.formats.base import LeftOut, Parsed, reads
from trueup.feedback.formats.dialogue import answers, dropped
from trueup.feedback.formats.values import messages, optional_text, others, prompt_of, reply, shared, text, user
from trueup.feedback.reading import Row
from trueup.feedback.records import Demonstration, Message, Prompt


@reads("Self-Instruct", Demonstration, "an instruction with instances", "instruction", "instances")
def self_instruct(row: Row) -> Iterator[Demonstration]:
    """One demonstration per instance."""
    data = row.data
    for instance in data["instances"]:
        yield Demonstration(
            prompt=user(_ask(text(data, "instruction"), instance.get("input"))),
            response=text(instance, "output"),
            id=optional_text(data, "id") or "",
            extra=others(data, "id", "instruction", "instances"),
        )


@reads("MT-bench answers", Demonstration, "answers to MT-bench questions", "question_id", "choices")
def mt_bench(row: Row) -> Iterator[Demonstration]:
    """One demonstration per turn; the questions are read from question.jsonl beside the file or one folder up."""
    data = row.data
    questions = _questions(row.file)
    asked = questions.get(data["question_id"])
    if asked is None:
        raise FeedbackError(f"question.jsonl has no question {data['question_id']!r}.")
    for choice in data["choices"]:
        said: Prompt = []
        for question, answer in zip(asked, choice["turns"], strict=True):
            turn: list[Message] = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            said += turn
        name = f"{data['question_id']}"
        extra = others(data, "question_id", "model_id", "choices")
        yield from answers(said, id=name, source=optional_text(data, "model_id"), extra=extra)


def _questions(file: str) -> Mapping[Any, list[str]]:
    for folder in (Path(file).parent, Path(file).parent.parent):
        path = folder / "question.jsonl"
        if path.is_file():
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            return {row["question_id"]: row["turns"] for row in rows}
    raise FeedbackError(
        "the questions are in another file, question.jsonl, which is neither beside this one nor one folder up.",
        fix="Put it there.",
    )


@reads("ShareGPT", Demonstration, "a dialogue with from and value", "conversations")
def sharegpt(row: Row) -> Parsed:
    """One demonstration for every answer of the assistant; `system`, where there is one, comes first."""
    data = row.data
    first: Prompt = [{"role": "system", "content": text(data, "system")}] if data.get("system") else []
    said = [*first, *messages(data["conversations"], "conversations")]
    return [*answers(said, **shared(data, "conversations", "system")), *dropped(data["conversations"])]


@reads("messages", Demonstration, "a dialogue as chat messages", "messages")
def chat(row: Row) -> Parsed:
    """One demonstration for every answer of the assistant."""
    said = row.data["messages"]
    return [*answers(messages(said, "messages"), **shared(row.data, "messages")), *dropped(said)]


@reads("prompt/response", Demonstration, "a prompt and its response", "prompt", "response")
@reads("prompt/completion", Demonstration, "a prompt and its completion", "prompt", "completion")
def completed(row: Row) -> Demonstration:
    """Strings or messages."""
    key = "response" if "response" in row.data else "completion"
    prompt = prompt_of(row.data)
    return Demonstration(prompt=prompt, response=reply(row.data[key], key, prompt), **shared(row.data, "prompt", key))


@reads("Alpaca", Demonstration, "an instruction, perhaps an input, and the output", "instruction", "output")
def alpaca(row: Row) -> Demonstration:
    """The input stands below the instruction, an empty line between; `history` holds earlier turns."""
    data = row.data
    prompt = user(_ask(text(data, "instruction"), data.get("input")))
    earlier: Prompt = []
    for question, answer in data.get("history") or ():
        earlier += user(question)
        earlier.append({"role": "assistant", "content": answer})
    system: Prompt = [{"role": "system", "content": text(data, "system")}] if data.get("system") else []
    return Demonstration(
        prompt=[*system, *earlier, *prompt],
        response=text(data, "output"),
        **shared(data, "instruction", "input", "output", "history", "system"),
    )


@reads(
    "Dolly", Demonstration, "an instruction, perhaps a context, and the response", "instruction", "context", "response"
)
def dolly(row: Row) -> Demonstration:
    """The context stands below the instruction, an empty line between."""
    data = row.data
    return Demonstration(
        prompt=user(_ask(text(data, "instruction"), data["context"])),
        response=text(data, "response"),
        **shared(data, "instruction", "context", "response"),
    )


@reads("question/answer", Demonstration, "a question and its answer", "question", "answer")
def answered(row: Row) -> Demonstration:
    """The form of GSM8K; the answer is kept as it stands, calculator marks and final line included."""
    data = row.data
    return Demonstration(
        prompt=user(text(data, "question")), response=text(data, "answer"), **shared(data, "question", "answer")
    )


@reads("text", Demonstration, "a plain text", "text")
def plain_text(row: Row) -> Demonstration | LeftOut:
    """A document: a response without a prompt."""
    if not row.data["text"]:
        return LeftOut("the text is empty")
    return Demonstration(prompt=[], response=text(row.data, "text"), **shared(row.data, "text"))


def _ask(instruction: str, given: Any) -> str:
    return f"{instruction}\n\n{given}" if given else instruction

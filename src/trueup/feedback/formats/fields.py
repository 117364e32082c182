"""Rows that carry the fields of a kind under trueup's names, without saying which kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.formats.base import reads
from trueup.feedback.formats.values import flag, number, optional_text, prompt_of, reply, shared, text
from trueup.feedback.reading import Row
from trueup.feedback.records import Critique, Edit, Label, Ranking, Scores, Steps


def _texts(data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    values = data[key]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise FeedbackError(f"{key!r} must be a list of texts.")
    return tuple(values)


@reads("ranking", Ranking, "a prompt, its responses and their ranks", "prompt", "responses", "ranks")
def ranking(row: Row) -> Ranking:
    """`ranks` counts from 1, the best."""
    data = row.data
    return Ranking(
        prompt=prompt_of(data),
        responses=_texts(data, "responses"),
        ranks=tuple(data["ranks"]),
        **shared(data, "prompt", "responses", "ranks"),
    )


@reads("critique", Critique, "a response and what is wrong with it", "prompt", "response", "critique")
def critique(row: Row) -> Critique:
    """With a `revision`, where there is one."""
    data = row.data
    return Critique(
        prompt=prompt_of(data),
        response=text(data, "response"),
        critique=text(data, "critique"),
        revision=optional_text(data, "revision"),
        **shared(data, "prompt", "response", "critique", "revision"),
    )


@reads("edit", Edit, "a response and what it was changed to", "prompt", "response", "revision")
def edit(row: Row) -> Edit:
    """No critique: that is the format above."""
    data = row.data
    return Edit(
        prompt=prompt_of(data),
        response=text(data, "response"),
        revision=text(data, "revision"),
        **shared(data, "prompt", "response", "revision"),
    )


@reads("scores", Scores, "a response and its scores by dimension", "prompt", "response", "scores")
def scores(row: Row) -> Scores:
    """A score that is null or N/A is missing."""
    data = row.data
    if not isinstance(data["scores"], Mapping):
        raise FeedbackError("'scores' must be an object that maps dimensions to numbers.")
    return Scores(
        prompt=prompt_of(data),
        response=text(data, "response"),
        scores={name: number(data["scores"], name) for name in data["scores"]},
        **shared(data, "prompt", "response", "scores"),
    )


@reads(
    "prompt/completions/labels", Steps, "a solution in steps, each right or wrong", "prompt", "completions", "labels"
)
@reads("steps", Steps, "a solution in steps, each right or wrong", "prompt", "steps", "labels")
def steps(row: Row) -> Steps:
    """Also TRL's stepwise form, where steps are completions. A label that is null was not given."""
    data = row.data
    key = "steps" if "steps" in data else "completions"
    labels = [None if label is None else flag({"labels": label}, "labels") for label in data["labels"]]
    return Steps(
        prompt=prompt_of(data),
        steps=_texts(data, key),
        labels=tuple(labels),
        **shared(data, "prompt", key, "labels"),
    )


@reads("prompt/response/label", Label, "a response with a thumb up or down", "prompt", "response", "label")
@reads("prompt/completion/label", Label, "a completion with a thumb up or down", "prompt", "completion", "label")
def label(row: Row) -> Label:
    """The form of KTO; `label` may be true/false, 1/0 or the words."""
    data = row.data
    key = "response" if "response" in data else "completion"
    prompt = prompt_of(data)
    return Label(
        prompt=prompt,
        response=reply(data[key], key, prompt),
        label=flag(data, "label"),
        **shared(data, "prompt", key, "label"),
    )

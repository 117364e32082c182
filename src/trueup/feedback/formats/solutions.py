"""Solutions in steps, and which steps are right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.formats.base import LeftOut, reads
from trueup.feedback.formats.values import optional_text, others, text, user
from trueup.feedback.reading import Row
from trueup.feedback.records import Steps

# PRM800K's ratings; 0 is neutral: neither right nor wrong.
_RATINGS: dict[Any, bool | None] = {1: True, 0: None, -1: False, None: None}


@reads("BIG-Bench Mistake", Steps, "steps and the first mistake", "input", "steps", "mistake_index")
def mistake(row: Row) -> Steps:
    """Steps before the first mistake are right, that one is wrong; those behind it were not judged."""
    data = row.data
    steps, first = tuple(data["steps"]), data["mistake_index"]
    if first is None:
        labels: tuple[bool | None, ...] = (True,) * len(steps)
    elif isinstance(first, int) and 0 <= first < len(steps):
        labels = (*[True] * first, False, *[None] * (len(steps) - first - 1))
    else:
        raise FeedbackError(f"'mistake_index' must be null or a step from 0 to {len(steps) - 1}, found {first!r}.")
    return Steps(prompt=user(text(data, "input")), steps=steps, labels=labels, extra=others(data, "input", "steps"))


@reads(
    "PRM800K",
    Steps,
    "solutions with rated steps",
    "question",
    "label",
    when=lambda data: isinstance(data["label"], dict) and "steps" in data["label"],
)
def prm800k(row: Row) -> Iterator[Steps | LeftOut]:
    """The chosen way through the solution, and one record for every other completion that was rated on the way.

    In the latter only the last step has a label. Ratings 1 and -1 are right and wrong; 0 (neutral) is no label.
    """
    data = row.data
    path: list[str] = []
    labels: list[bool | None] = []
    asides: list[Steps] = []
    fields: dict[str, Any] = {
        "prompt": user(text(data["question"], "problem")),
        "annotator": optional_text(data, "labeler"),
        "extra": {
            **others(data, "labeler", "question", "label"),
            **others(data["question"], "problem"),
            **others(data["label"], "steps"),
        },
    }
    for step in data["label"]["steps"]:
        completions, chosen = step["completions"] or [], step.get("chosen_completion")
        for i, completion in enumerate(completions):
            label = _rating(completion)
            if i != chosen and label is not None:
                steps = (*path, text(completion, "text"))
                asides.append(Steps(steps=steps, labels=(*[None] * len(path), label), **fields))
        taken = completions[chosen] if chosen is not None else step.get("human_completion")
        if taken is None:
            break  # nobody went on from here: the labeller found an error or gave up
        path.append(text(taken, "text"))
        labels.append(_rating(taken) if chosen is not None else None)
    if path:
        yield Steps(steps=tuple(path), labels=tuple(labels), **fields)
    yield from asides
    if not path and not asides:
        yield LeftOut("no step was rated")


def _rating(completion: Mapping[str, Any]) -> bool | None:
    rating = completion.get("rating")
    if rating not in _RATINGS:
        raise FeedbackError(f"a rating must be -1, 0 or 1, found {rating!r}.")
    return _RATINGS[rating]


_ROSCOE = re.compile(r"CONTEXT:\nQuestion: (.*)\n\\Solution: (.*)\n\nGENERATED RESPONSE:\n(.*)", re.DOTALL)


def _is_roscoe(data: Mapping[str, Any]) -> bool:
    return isinstance(data["instance"], str) and "\nJUDGE: " in data["instance"]


def _solution(row: Row) -> str:
    return str(row.data["instance"]).split("\nJUDGE: ")[0]


@reads(
    "ROSCOE steps", Steps, "steps with error labels", "id", "instance", "annotations", when=_is_roscoe, group=_solution
)
def roscoe(rows: list[Row]) -> Iterator[Steps]:
    """One record per solution and kind of error, which is its `goal`; a step is right when it lacks that error."""
    found = _ROSCOE.search(_solution(rows[0]))
    if not found:
        raise FeedbackError("the instance does not hold a question, its solution and a generated response.")
    judged = tuple(row.data["instance"].split("\nJUDGE: ")[1].strip() for row in rows)
    for error in rows[0].data["annotations"]:
        yield Steps(
            prompt=user(found[1]),
            steps=tuple(re.sub(r"^Step \d+ - ", "", step) for step in judged),
            labels=tuple(_lacks(row.data["annotations"][error]) for row in rows),
            id=str(rows[0].data["id"]),
            goal=error,
            source=rows[0].head.get("dataset"),
            extra={"solution": found[2]},
        )


def _lacks(annotation: Mapping[str, Any]) -> bool | None:
    said = annotation["individual_human_scores"]
    if len(said) != 1 or said[0] not in ("yes", "no"):
        return None
    return said[0] == "no"

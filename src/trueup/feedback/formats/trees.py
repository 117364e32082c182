"""Conversation trees whose siblings are ranked (Open Assistant), and prompts with several scored answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.formats.base import LeftOut, reads
from trueup.feedback.formats.values import SPEAKERS, number, optional_text, others, text, user
from trueup.feedback.reading import Row
from trueup.feedback.records import Critique, Demonstration, Message, Prompt, Ranking, Scores

UNRANKED = "the replies of one message are not all ranked"
ONLY_REPLY = "the only reply: nothing to rank it against"
DELETED = "the message was deleted"
NOT_BEST = "the reply is not ranked best among its siblings"
NO_RANK = "the reply has no rank"
NO_OVERALL = "a completion has no overall score"

_OASST = ("message_tree_id", "prompt")


def _is_tree(data: Mapping[str, Any]) -> bool:
    return isinstance(data["prompt"], dict) and "replies" in data["prompt"]


@reads("OASST trees", Ranking, "conversation trees with ranked replies", *_OASST, when=_is_tree)
def oasst(row: Row) -> Iterator[Ranking | LeftOut]:
    """One ranking for every message with two or more replies of the assistant, all ranked (0 in the file is best)."""
    for path, replies in _branches(row.data["prompt"], []):
        kept = [reply for reply in replies if not reply.get("deleted")]
        yield from [LeftOut(DELETED)] * (len(replies) - len(kept))
        assistant = [reply for reply in kept if _role(reply) == "assistant"]
        if len(assistant) == 1:
            yield LeftOut(ONLY_REPLY)
        elif assistant and any(reply.get("rank") is None for reply in assistant):
            yield LeftOut(UNRANKED)
        elif assistant:
            yield Ranking(
                prompt=path,
                responses=tuple(text(reply, "text") for reply in assistant),
                ranks=tuple(reply["rank"] + 1 for reply in assistant),
                id=optional_text(assistant[0], "parent_id") or "",
                extra={
                    "message_tree_id": row.data["message_tree_id"],
                    "messages": [others(reply, "text", "replies", "parent_id", "role") for reply in assistant],
                },
            )


@reads("OASST trees", Demonstration, "conversation trees with ranked replies", *_OASST, when=_is_tree)
def oasst_best(row: Row) -> Iterator[Demonstration | LeftOut]:
    """The replies of the assistant that are ranked best (0 in the file) among their siblings."""
    for path, replies in _branches(row.data["prompt"], []):
        for reply in replies:
            if _role(reply) != "assistant":
                continue
            if reply.get("deleted"):
                yield LeftOut(DELETED)
            elif reply.get("rank") != 0:
                yield LeftOut(NO_RANK if reply.get("rank") is None else NOT_BEST)
            else:
                yield Demonstration(
                    prompt=path,
                    response=text(reply, "text"),
                    id=optional_text(reply, "message_id") or "",
                    extra={
                        "message_tree_id": row.data["message_tree_id"],
                        **others(reply, "text", "replies", "role", "message_id"),
                    },
                )


def _branches(message: Mapping[str, Any], before: Prompt) -> Iterator[tuple[Prompt, list[Mapping[str, Any]]]]:
    """Every message's path from the root, with its replies."""
    said: Message = {"role": _role(message), "content": text(message, "text")}
    path = [*before, said]
    replies = message.get("replies") or []
    if replies:
        yield path, replies
    for reply in replies:
        yield from _branches(reply, path)


def _role(message: Mapping[str, Any]) -> str:
    role = message.get("role")
    if role not in SPEAKERS:
        raise FeedbackError(f"a message has the role {role!r}.")
    return SPEAKERS[role]


def _has_completions(data: Mapping[str, Any]) -> bool:
    completions = data["completions"]
    return isinstance(completions, list) and bool(completions) and isinstance(completions[0], dict)


@reads("UltraFeedback", Scores, "several scored completions", "instruction", "completions", when=_has_completions)
def ultrafeedback(row: Row) -> Iterator[Scores]:
    """One record per completion: its aspects, and `overall` where there is an overall score."""
    for completion in row.data["completions"]:
        scores = {aspect: number(said, "Rating") for aspect, said in (completion.get("annotations") or {}).items()}
        if "overall_score" in completion:
            scores["overall"] = number(completion, "overall_score")
        yield Scores(scores=scores, **_completion(row, completion, "annotations", "overall_score"))


@reads("UltraFeedback", Ranking, "several scored completions", "instruction", "completions", when=_has_completions)
def ultrafeedback_ranking(row: Row) -> Ranking | LeftOut:
    """By the overall score, equal scores tied."""
    completions = row.data["completions"]
    overall = [number(completion, "overall_score") for completion in completions if "overall_score" in completion]
    given = [score for score in overall if score is not None]
    if len(given) < len(completions):
        return LeftOut(NO_OVERALL)
    return Ranking(
        prompt=user(text(row.data, "instruction")),
        responses=tuple(text(completion, "response") for completion in completions),
        ranks=tuple(1 + sum(other > score for other in given) for score in given),
        source=optional_text(row.data, "source"),
        extra={
            **others(row.data, "instruction", "completions", "source"),
            "completions": [others(completion, "response") for completion in completions],
        },
    )


@reads("UltraFeedback", Critique, "several scored completions", "instruction", "completions", when=_has_completions)
def ultrafeedback_critiques(row: Row) -> Iterator[Critique | LeftOut]:
    """One per completion that has a critique."""
    for completion in row.data["completions"]:
        if not completion.get("critique"):
            yield LeftOut("a completion has no critique")
            continue
        yield Critique(critique=text(completion, "critique"), **_completion(row, completion, "critique"))


def _completion(row: Row, completion: Mapping[str, Any], *used: str) -> dict[str, Any]:
    return {
        "prompt": user(text(row.data, "instruction")),
        "response": text(completion, "response"),
        "source": optional_text(completion, "model"),
        "extra": {
            **others(row.data, "instruction", "completions", "models"),
            **others(completion, "response", "model", *used),
        },
    }


_HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


@reads("HelpSteer", Scores, "a response with five scores", "prompt", "response", *_HELPSTEER)
def helpsteer(row: Row) -> Scores:
    """Scores from 0 to 4."""
    data = row.data
    return Scores(
        prompt=user(text(data, "prompt")),
        response=text(data, "response"),
        scores={name: number(data, name) for name in _HELPSTEER},
        extra=others(data, "prompt", "response", *_HELPSTEER),
    )

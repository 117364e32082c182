"""Two responses and which is better: the forms of particular data sets and judges."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.formats.base import LeftOut, Lost, Parsed, reads
from trueup.feedback.formats.dialogue import is_transcript, parted, turns
from trueup.feedback.formats.values import flag, messages, number, optional_text, others, text, user
from trueup.feedback.reading import Row
from trueup.feedback.records import Label, Pair, Prompt, Ranking

UNPARSED = "no preference: the judge's answer was not parsed (null)"
CONTRAST = "chosen shows the behaviour that its goal names, which need not be the better answer"


def choice(first: str, second: str, winner: int | None, **fields: Any) -> Pair:
    """The pair in which response `winner` (0 or 1) won; None is a tie, in the order given."""
    chosen, rejected = (second, first) if winner == 1 else (first, second)
    return Pair(chosen=chosen, rejected=rejected, tie=winner is None, **fields)


@reads(
    "AlpacaEval annotations", Pair, "a judge's choice", "instruction", "output_1", "output_2", "preference", "annotator"
)
def alpaca_eval(row: Row) -> Parsed:
    """`preference` is 1 + P(output_2 wins); 0 and 1.5 are draws; null was not parsed.

    `strength` is the judge's probability that the chosen one wins, from 0.5 to 1; `extra` keeps the preference.
    """
    data = row.data
    preference = number(data, "preference")
    if preference is None:
        return LeftOut(UNPARSED)
    if preference != 0 and not 1 <= preference <= 2:
        raise FeedbackError(f"'preference' must be 0 or lie between 1 and 2, found {preference}.")
    draw = preference in (0, 1.5)
    return choice(
        text(data, "output_1"),
        text(data, "output_2"),
        None if draw else int(preference > 1.5),
        prompt=user(text(data, "instruction")),
        strength=0.5 if draw else max(preference - 1, 2 - preference),
        annotator=optional_text(data, "annotator"),
        source=optional_text(data, "dataset"),
        extra={**others(data, "instruction", "output_1", "output_2", "annotator", "dataset"), "preference": preference},
    )


@reads("JudgeBench", Pair, "two answers, one correct", "pair_id", "question", "response_A", "response_B", "label")
def judgebench(row: Row) -> Pair:
    """`label` says which answer is correct; a judge's two judgments, where recorded, stay in `extra["judgments"]`.

    The second judgment saw the answers in swapped order.
    """
    data = row.data
    if data["label"] not in ("A>B", "B>A"):
        raise FeedbackError(f"'label' must be 'A>B' or 'B>A', found {data['label']!r}.")
    return choice(
        text(data, "response_A"),
        text(data, "response_B"),
        int(data["label"] == "B>A"),
        prompt=user(text(data, "question")),
        id=text(data, "pair_id"),
        source=optional_text(data, "source"),
        extra=others(data, "pair_id", "question", "response_A", "response_B", "source"),
    )


@reads("Auto-J pairs", Pair, "a person's choice, ties included", "prompt", "response 1", "response 2", "label")
def autoj(row: Row) -> Pair:
    """`label` 0 or 1 names the better one, 2 is a tie."""
    data = row.data
    if data["label"] not in (0, 1, 2):
        raise FeedbackError(f"'label' must be 0, 1 or 2 (tie), found {data['label']!r}.")
    return choice(
        text(data, "response 1"),
        text(data, "response 2"),
        None if data["label"] == 2 else data["label"],
        prompt=user(text(data, "prompt")),
        extra=others(data, "prompt", "response 1", "response 2"),
    )


@reads(
    "PKU dual preferences", Pair, "two criteria", "prompt", "response_0", "response_1", "better_response_id",
    "safer_response_id",
)  # fmt: skip
def pku(row: Row) -> Iterator[Pair]:
    """Two pairs a row, one for each criterion: `goal` is `better` or `safer`, and they may disagree."""
    data = row.data
    for goal in ("better", "safer"):
        yield choice(
            text(data, "response_0"),
            text(data, "response_1"),
            int(flag(data, f"{goal}_response_id")),
            prompt=user(text(data, "prompt")),
            goal=goal,
            extra=others(data, "prompt", "response_0", "response_1"),
        )


@reads(
    "RM-Bench",
    Pair,
    "chosen and rejected in several styles",
    "prompt",
    "chosen",
    "rejected",
    when=lambda data: _are_texts(data["chosen"]) and _are_texts(data["rejected"]),
)
def rm_bench(row: Row) -> Iterator[Pair]:
    """Every chosen with every rejected version; `extra` says which (`chosen_style`, `rejected_style`, from 0).

    In RM-Bench 0 is concise, 1 detailed plain and 2 detailed Markdown text.
    """
    data = row.data
    for (i, chosen), (j, rejected) in itertools.product(enumerate(data["chosen"]), enumerate(data["rejected"])):
        yield Pair(
            prompt=user(text(data, "prompt")),
            chosen=chosen,
            rejected=rejected,
            id=optional_text(data, "id") or "",
            source=optional_text(data, "subset"),
            extra={
                **others(data, "prompt", "chosen", "rejected", "id", "subset"),
                "chosen_style": i,
                "rejected_style": j,
            },
        )


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, str) for item in value)


@reads("HHH in scoring prompts", Pair, "two scoring prompts", "chosen_instruction", "rejected_instruction", "source")
def hhh(row: Row) -> Pair:
    """Instruction and response are cut out of the prompts; a dialogue in the instruction becomes messages."""
    data = row.data
    ask, chosen = _cut(text(data, "chosen_instruction"))
    other, rejected = _cut(text(data, "rejected_instruction"))
    if ask != other:
        raise FeedbackError("the two scoring prompts are about different instructions.")
    return Pair(
        prompt=turns(f"\n\nHuman: {ask}"),
        chosen=chosen,
        rejected=rejected,
        goal=text(data, "source"),
        extra=others(data, "chosen_instruction", "rejected_instruction", "source"),
    )


def _cut(scoring: str) -> tuple[str, str]:
    _, opened, rest = scoring.partition("###The instruction to evaluate:")
    ask, middle, rest = rest.partition("###Response to evaluate:")
    response, closed, _ = rest.partition("###Score Rubrics:")
    if not (opened and middle and closed):
        raise FeedbackError("the scoring prompt lacks one of its headings (instruction, response, rubrics).")
    return ask.strip(), response.strip()


@reads(
    "model-written evaluations", Pair, "answers that show a behaviour and do not", "question",
    "answer_matching_behavior", "answer_not_matching_behavior",
)  # fmt: skip
def model_written(row: Row) -> Parsed:
    """`goal` is the behaviour, which is the file's name; chosen shows it, good or bad."""
    matching, other = _answers(row)
    return [Pair(chosen=matching, rejected=other, **_behaviour(row)), Lost(CONTRAST)]


@reads(
    "model-written evaluations", Label, "answers that show a behaviour and do not", "question",
    "answer_matching_behavior", "answer_not_matching_behavior",
)  # fmt: skip
def model_written_labels(row: Row) -> list[Label]:
    """Two labels a row: the thumb says whether the answer shows the behaviour that `goal` names."""
    fields = _behaviour(row)
    return [
        Label(response=said, label=shows, **fields) for said, shows in zip(_answers(row), (True, False), strict=True)
    ]


def _answers(row: Row) -> tuple[str, str]:
    return text(row.data, "answer_matching_behavior"), text(row.data, "answer_not_matching_behavior")


def _behaviour(row: Row) -> dict[str, Any]:
    used = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
    return {
        "prompt": user(text(row.data, "question")),
        "goal": Path(row.file).name.split(".")[0],
        "extra": others(row.data, *used),
    }


@reads("Chatbot Arena", Pair, "two whole dialogues and the winner", "conversation_a", "conversation_b", "winner")
def arena(row: Row) -> Parsed:
    """`winner` is model_a, model_b or a tie; what follows the common beginning is compared (`dialogue.parted`)."""
    data = row.data
    winner = data["winner"]
    first, second = (
        messages(data["conversation_a"], "conversation_a"),
        messages(data["conversation_b"], "conversation_b"),
    )
    if winner not in ("model_a", "model_b", "tie", "tie (bothbad)"):
        raise FeedbackError(f"'winner' must be model_a, model_b or a tie, found {winner!r}.")
    if winner == "model_b":
        first, second = second, first
    return parted(
        first,
        second,
        tie=winner.startswith("tie"),
        id=optional_text(data, "question_id") or "",
        annotator=optional_text(data, "judge"),
        extra=others(data, "conversation_a", "conversation_b", "question_id", "judge"),
    )


@reads("SHP", Pair, "two comments and which the readers preferred", "history", "human_ref_A", "human_ref_B", "labels")
def shp(row: Row) -> Pair:
    """`labels` is 1 when A is preferred; `strength` is the ratio of their votes."""
    data = row.data
    return choice(
        text(data, "human_ref_A"),
        text(data, "human_ref_B"),
        int(not flag(data, "labels")),
        prompt=user(text(data, "history")),
        strength=number(data, "score_ratio") if "score_ratio" in data else None,
        source=optional_text(data, "domain"),
        extra=others(data, "history", "human_ref_A", "human_ref_B", "score_ratio", "domain"),
    )


@reads(
    "Nectar",
    Ranking,
    "a prompt and ranked answers",
    "prompt",
    "answers",
    when=lambda data: isinstance(data["answers"], list) and all("rank" in answer for answer in data["answers"]),
)
def nectar(row: Row) -> Ranking:
    """The prompt is a transcript that ends at the assistant's turn; rank 1 is best."""
    data = row.data
    answers = data["answers"]
    ranks = [number(answer, "rank") for answer in answers]
    if any(rank is None or rank != int(rank) for rank in ranks):
        raise FeedbackError(f"an answer has no whole rank, found {ranks}.")
    return Ranking(
        prompt=_open_transcript(text(data, "prompt")),
        responses=tuple(text(answer, "answer") for answer in answers),
        ranks=tuple(int(rank) for rank in ranks if rank is not None),
        extra={**others(data, "prompt", "answers"), "models": [answer.get("model") for answer in answers]},
    )


def _open_transcript(prompt: str) -> Prompt:
    if not is_transcript(prompt):
        return user(prompt)
    said = turns(prompt)
    return said[:-1] if said[-1] == {"role": "assistant", "content": ""} else said

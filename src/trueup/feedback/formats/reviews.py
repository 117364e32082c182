"""Scores, critiques and edits: what reviewers write about one response."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.formats.base import LeftOut, Lost, Parsed, reads
from trueup.feedback.formats.values import number, optional_text, others, text, user
from trueup.feedback.reading import Row
from trueup.feedback.records import Critique, Edit, Label, Mark, Ranking, Scores

NO_CRITIQUE = "the judgment is null: the answer was found good, and there is no critique"
FAILED = "the judgment is $ERROR$: the judge failed"
NO_COMMENT = "the review has no comments"
NO_QUESTION = "the question is not in the file, so the prompt is empty"
UNPLACED = (
    'some comments are on a passage that is not found exactly once; they have no mark, extra["unplaced"] has them'
)


@reads("just-eval", Scores, "a judge's scores by aspect", "input", "output_cand", "parsed_result")
def just_eval(row: Row) -> Scores:
    """Scores from 1 to 5; "N/A" is missing. `extra["reasons"]` has the judge's reasons."""
    data = row.data
    result = data["parsed_result"]
    config = data.get("eval_config") or {}
    return Scores(
        prompt=user(text(data, "input")),
        response=text(data, "output_cand"),
        scores={aspect: number(said, "score") for aspect, said in result.items()},
        id=optional_text(data, "id") or "",
        annotator=config.get("gpt"),
        source=optional_text(data, "generator_cand"),
        extra={
            **others(data, "input", "output_cand", "parsed_result", "id", "generator_cand"),
            "reasons": {aspect: said.get("reason") for aspect, said in result.items()},
        },
    )


@reads("CUT judgments", Critique, "a judge's critique", "instruction", "output", "judgment")
def cut(row: Row) -> Critique | LeftOut:
    """A null judgment found nothing wrong, "$ERROR$" is a failure of the judge: both are left out and counted."""
    data = row.data
    if data["judgment"] is None:
        return LeftOut(NO_CRITIQUE)
    if data["judgment"] == "$ERROR$":
        return LeftOut(FAILED)
    return Critique(critique=text(data, "judgment"), **_answered(row))


@reads("CUT judgments", Label, "a judge's critique", "instruction", "output", "judgment")
def cut_labels(row: Row) -> Label | LeftOut:
    """Thumb up where the judgment is null (found good), down where there is a critique."""
    if row.data["judgment"] == "$ERROR$":
        return LeftOut(FAILED)
    fields = _answered(row)
    if row.data["judgment"] is not None:
        fields["extra"] = {**fields["extra"], "judgment": row.data["judgment"]}
    return Label(label=row.data["judgment"] is None, **fields)


def _answered(row: Row) -> dict[str, Any]:
    data = row.data
    given = optional_text(data, "input")
    ask = text(data, "instruction")
    return {
        "prompt": user(ask if given is None else f"{ask}\n\n{given}"),
        "response": text(data, "output"),
        "id": optional_text(data, "id") or "",
        "extra": others(data, "id", "instruction", "input", "output", "judgment"),
    }


_AUTOJ = re.compile(
    r"\[BEGIN DATA\]\n\*\*\*\n\[Query\]: (.*)\n\*\*\*\n\[Response\]: (.*)\n\*\*\*\n\[END DATA\]", re.DOTALL
)


@reads("Auto-J critiques", Critique, "a critique that ends in a rating", "usrmsg", "target_output", "pred_score")
def autoj(row: Row) -> Critique:
    """Query and response are cut out of the judge's prompt; the rating (1 to 10) is in `extra["pred_score"]`."""
    query, response = _asked(row)
    return Critique(
        prompt=user(query),
        response=response,
        critique=text(row.data, "target_output"),
        source=optional_text(row.data, "source_dataset"),
        extra=others(row.data, "usrmsg", "target_output", "source_dataset"),
    )


@reads("Auto-J critiques", Scores, "a critique that ends in a rating", "usrmsg", "target_output", "pred_score")
def autoj_scores(row: Row) -> Scores:
    """The rating alone, as `overall`, from 1 to 10; the critique is in `extra["target_output"]`."""
    query, response = _asked(row)
    return Scores(
        prompt=user(query),
        response=response,
        scores={"overall": number(row.data, "pred_score")},
        source=optional_text(row.data, "source_dataset"),
        extra=others(row.data, "usrmsg", "pred_score", "source_dataset"),
    )


def _asked(row: Row) -> tuple[str, str]:
    found = _AUTOJ.search(text(row.data, "usrmsg"))
    if not found:
        raise FeedbackError("'usrmsg' does not hold [Query] and [Response] between [BEGIN DATA] and [END DATA].")
    return found[1], found[2]


@reads("LAMP edits", Edit, "a writer's edit", "instruction", "preedit", "postedit")
def lamp(row: Row) -> Edit:
    """The fine-grained edits and the creativity scores before and after stay in `extra`."""
    return Edit(response=text(row.data, "preedit"), revision=text(row.data, "postedit"), **_edited(row))


@reads("LAMP edits", Critique, "a writer's edit", "instruction", "preedit", "postedit", "fine_grained_edits")
def lamp_critiques(row: Row) -> Parsed:
    """Each fine-grained edit is a line of the critique and, where its passage is found once, a mark."""
    edits = row.data["fine_grained_edits"]
    comments = [(e["originalText"], f'{e["categorization"]}: write "{e["editedText"]}".') for e in edits]
    return _commented(text(row.data, "preedit"), comments, revision=text(row.data, "postedit"), **_edited(row))


@reads("LAMP edits", Scores, "a writer's edit", "instruction", "preedit", "postedit", "creativity_scores")
def lamp_scores(row: Row) -> Iterator[Scores]:
    """Two records a row: the creativity of the paragraph before and after the edit (1 to 10)."""
    before, after = row.data["creativity_scores"]
    for key, score in (("preedit", before), ("postedit", after)):
        fields = _edited(row)
        yield Scores(response=text(row.data, key), scores={"creativity": number({"score": score}, "score")}, **fields)


def _edited(row: Row) -> dict[str, Any]:
    data = row.data
    name = optional_text(data, "id") or ""
    return {
        "prompt": user(text(data, "instruction")),
        "id": name,
        "annotator": name.split("_")[0] or None,  # ids are WRITER_reannotation_NUMBER
        "source": optional_text(data, "source"),
        "extra": others(data, "instruction", "preedit", "postedit", "id", "source"),
    }


_SQUALITY = ("passage-id", "questions")


@reads("SQuALITY reviews", Ranking, "reviews of three summaries", *_SQUALITY)
def squality(row: Row) -> Iterator[Ranking | Lost]:
    """One ranking per question and reviewer, by the overall rank; `extra` names passage, question and systems."""
    for question, systems in row.data["questions"].items():
        responses = {name: said for name, said in systems.items() if "reviews" in said}
        ranks: dict[str, dict[str, int]] = {}
        for name, said in responses.items():
            for review in said["reviews"]:
                ranks.setdefault(review["worker_id"], {})[name] = review["overall-rank"]
        for reviewer, given in ranks.items():
            yield Ranking(
                prompt=[],
                responses=tuple(text(responses[name], "response") for name in given),
                ranks=tuple(given.values()),
                annotator=reviewer,
                **_placed(row, question, systems=list(given)),
            )
            yield Lost(NO_QUESTION)


@reads("SQuALITY reviews", Scores, "reviews of three summaries", *_SQUALITY)
def squality_scores(row: Row) -> Iterator[Scores | Lost]:
    """One record per review: correctness, selection (coverage) and overall, from 1 to 100."""
    for question, system, response, review in _reviews(row):
        yield Scores(
            prompt=[],
            response=response,
            scores={name: number(review, f"{name}-rating") for name in ("correctness", "selection", "overall")},
            annotator=review["worker_id"],
            source=system,
            **_placed(row, question),
        )
        yield Lost(NO_QUESTION)


@reads("SQuALITY reviews", Critique, "reviews of three summaries", *_SQUALITY)
def squality_critiques(row: Row) -> Iterator[Critique | LeftOut | Lost]:
    """One critique per review, its comments on passages as marks."""
    for question, system, response, review in _reviews(row):
        comments = [(c["selection"], " ".join(c["annotation"])) for c in review["annotations"]]
        if not comments:
            yield LeftOut(NO_COMMENT)
            continue
        fields = {**_placed(row, question), "annotator": review["worker_id"], "source": system}
        yield from _commented(response, comments, prompt=[], **fields)
        yield Lost(NO_QUESTION)


def _reviews(row: Row) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    for question, systems in row.data["questions"].items():
        for system, said in systems.items():
            for review in said.get("reviews", ()):
                yield question, system, text(said, "response"), review


def _placed(row: Row, question: str, **more: Any) -> dict[str, Any]:
    passage = row.data["passage-id"]
    return {"id": f"{passage}/{question}", "extra": {"passage-id": passage, "question": question, **more}}


def _commented(response: str, comments: list[tuple[str, str]], **fields: Any) -> list[Critique | Lost]:
    """A critique of (passage, comment): marks where the passage is found exactly once, spaces apart."""
    marks, unplaced = [], []
    for passage, comment in comments:
        pattern = r"\s+".join(re.escape(word) for word in passage.split())
        found = list(re.finditer(pattern, response)) if pattern else []
        if len(found) == 1:
            marks.append(Mark(start=found[0].start(), end=found[0].end(), comment=comment))
        else:
            unplaced.append({"passage": passage, "comment": comment})
    if unplaced:
        fields["extra"] = {**fields["extra"], "unplaced": unplaced}
    critique = "\n".join(f'"{passage}": {comment}' for passage, comment in comments)
    record = Critique(response=response, critique=critique, marks=tuple(marks), **fields)
    return [record, Lost(UNPLACED)] if unplaced else [record]

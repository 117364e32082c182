"""What several annotators said about the same response, one by one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.formats.base import LeftOut, Lost, Parsed, reads
from trueup.feedback.formats.values import flag, others, text, user
from trueup.feedback.reading import Row
from trueup.feedback.records import Label, Prompt, Scores

_XSTEST = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
_SPEAKER = re.compile(r"(?:^|\\n)([AB]): ?")
COMPLIED = "the label says that the request was complied with, not that it should have been"


@reads(
    "XSTest completions", Label, "annotated completions", "type", "prompt", "completion", "annotation_1", "annotation_2"
)
def xstest(row: Row) -> Iterator[Label | LeftOut]:
    """One label per annotator: the thumb is up when the response does wholly what its prompt calls for.

    That is full compliance on a safe prompt and full refusal on an unsafe one (`type` starts with "contrast");
    `extra["annotation"]` keeps the annotator's own word.
    """
    data = row.data
    right = _XSTEST[1] if text(data, "type").startswith("contrast") else _XSTEST[0]
    for annotator in ("annotation_1", "annotation_2"):
        said = data[annotator]
        if not said:
            yield LeftOut("the annotator gave no label")
            continue
        if said not in _XSTEST:
            raise FeedbackError(f"{annotator!r} must be one of {', '.join(_XSTEST)}, found {said!r}.")
        yield Label(
            prompt=user(text(data, "prompt")),
            response=text(data, "completion"),
            label=said == right,
            id=data.get("id") or "",
            annotator=annotator,
            extra={**others(data, "id", "prompt", "completion", "annotation_1", "annotation_2"), "annotation": said},
        )


def _is_judge_bench(data: Mapping[str, Any]) -> bool:
    instance = data["instance"]
    return isinstance(instance, dict) and {"user_prompt", "response"} <= instance.keys()


@reads("JUDGE-BENCH votes", Label, "many people's answers", "id", "instance", "annotations", when=_is_judge_bench)
def votes(row: Row) -> Iterator[Label | LeftOut]:
    """One label per vote, yes up and no down, with the metric as its goal; other answers are left out and counted.

    The file does not say who voted, so labels have no annotator; their ids count the votes of an instance.
    """
    data = row.data
    prompt = _conversation(text(data["instance"], "user_prompt"))
    for metric, annotation in data["annotations"].items():
        for number, vote in enumerate(annotation["individual_human_scores"]):
            if str(vote).lower() not in ("yes", "no"):
                yield LeftOut(f"the answer {vote!r} is neither yes nor no")
                continue
            yield Label(
                prompt=prompt,
                response=text(data["instance"], "response"),
                label=vote.lower() == "yes",
                id=str(data["id"]),
                goal=metric,
                source=row.head.get("dataset"),
                extra={"vote": number},
            )


@reads("JUDGE-BENCH votes", Scores, "many people's answers", "id", "instance", "annotations", when=_is_judge_bench)
def shares(row: Row) -> Iterator[Scores]:
    """The share of each answer, one record per metric; `extra["votes"]` is their number."""
    data = row.data
    for metric, annotation in data["annotations"].items():
        counts = Counter(annotation["individual_human_scores"])
        answers = next((a["labels_list"] for a in row.head.get("annotations", ()) if a["metric"] == metric), counts)
        yield Scores(
            prompt=_conversation(text(data["instance"], "user_prompt")),
            response=text(data["instance"], "response"),
            scores={answer: counts[answer] / counts.total() for answer in answers},
            id=str(data["id"]),
            goal=metric,
            source=row.head.get("dataset"),
            extra={"votes": counts.total()},
        )


def _conversation(written: str) -> Prompt:
    """Turns written "A: ...\\nB: ...", line ends escaped; a text that is not so is one user message."""
    parts = _SPEAKER.split(written.removesuffix("\\n"))
    speakers = parts[1::2]
    if parts[0] or not speakers or speakers != (["A", "B"] * len(speakers))[: len(speakers)]:
        return user(written)
    roles = {"A": "user", "B": "assistant"}
    return [
        {"role": roles[name], "content": said.replace("\\n", "\n")}
        for name, said in zip(speakers, parts[2::2], strict=True)
    ]


@reads("RACE annotations", Label, "hallucination labels", "query", "llm_response", "llm_judge", "human_judge")
def hallucination(row: Row) -> Iterator[Label]:
    """Two labels a row, a person's (`human`) and a judge's (`llm`); the thumb is up without hallucination."""
    data = row.data
    for annotator in ("human", "llm"):
        said = data[f"{annotator}_judge"]
        if said not in ("No hallucination", "Has hallucination"):
            raise FeedbackError(f"'{annotator}_judge' must say whether there is hallucination, found {said!r}.")
        yield Label(
            prompt=user(text(data, "query")),
            response=text(data, "llm_response"),
            label=said == "No hallucination",
            annotator=annotator,
            goal="no hallucination",
            source=data.get("model"),
            extra=others(data, "query", "llm_response", "model"),
        )


@reads("refusal runs", Label, "did the model comply", "prompt", "response", "is_jailbreak_substring_matching")
def complied(row: Row) -> Parsed:
    """One label per detector (`annotator`); `goal` is compliance, whether or not the request deserved it."""
    data = row.data
    prefix = "is_jailbreak_"
    detectors = [key for key in data if key.startswith(prefix)]
    labels: list[Label | Lost] = [
        Label(
            prompt=user(text(data, "prompt")),
            response=text(data, "response"),
            label=flag(data, detector),
            annotator=detector.removeprefix(prefix),
            goal="compliance",
            extra=others(data, "prompt", "response", *detectors),
        )
        for detector in detectors
    ]
    return [*labels, *[Lost(COMPLIED) for _ in detectors]]

"""Formats of the field that the recorded data do not hold, as their publishers describe them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trueup import feedback
from trueup.errors import FeedbackError
from trueup.feedback import Critique, Demonstration, Label, Pair, Ranking, Scores, Steps

USER = {"role": "user", "content": "hi"}
YES = {"role": "assistant", "content": "yes"}
NO = {"role": "assistant", "content": "no"}


@pytest.fixture
def load(tmp_path: Path):
    def from_rows(*rows, **options):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        return feedback.load(path, **options)

    return from_rows


PAIRS = {
    "strings": {"prompt": "hi", "chosen": "yes", "rejected": "no"},
    "messages": {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
    "message objects": {"prompt": [USER], "chosen": YES, "rejected": NO},
    "messages that repeat the prompt": {"prompt": "hi", "chosen": [USER, YES], "rejected": [USER, NO]},
    "implicit prompt": {"chosen": [USER, YES], "rejected": [USER, NO]},
    "ShareGPT": {
        "conversations": [{"from": "human", "value": "hi"}],
        "chosen": {"from": "gpt", "value": "yes"},
        "rejected": {"from": "gpt", "value": "no"},
    },
    "Alpaca": {"instruction": "hi", "input": "", "chosen": "yes", "rejected": "no"},
    "Orca": {"system": "", "question": "hi", "chosen": "yes", "rejected": "no"},
    "HH": {"chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
    "SHP": {"history": "hi", "human_ref_A": "no", "human_ref_B": "yes", "labels": 0},
    "Arena": {"conversation_a": [USER, NO], "conversation_b": [USER, YES], "winner": "model_b"},
    "native": {"kind": "pair", "prompt": [USER], "chosen": "yes", "rejected": "no"},
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_same_pair_in_every_form(load, name):
    (pair,) = load(PAIRS[name])
    assert isinstance(pair, Pair)
    assert (pair.prompt, pair.chosen, pair.rejected, pair.tie) == ([USER], "yes", "no", False)
    assert pair.id == "rows.jsonl:1"


def test_further_fields_are_kept(load):
    row = {**PAIRS["strings"], "annotator": "ann", "goal": "brief", "strength": 2, "margin": 0.5, "note": None}
    (pair,) = load(row)
    assert (pair.annotator, pair.goal, pair.strength, pair.extra) == ("ann", "brief", 2, {"margin": 0.5})


def test_system_and_input_join_the_prompt(load):
    (pair,) = load({"system": "be brief", "question": "hi", "chosen": "yes", "rejected": "no"})
    assert pair.prompt == [{"role": "system", "content": "be brief"}, USER]
    (pair,) = load({"instruction": "add", "input": "1 2", "chosen": "3", "rejected": "4"})
    assert pair.prompt == [{"role": "user", "content": "add\n\n1 2"}]


def test_texts_without_a_prompt_are_compared_whole(load):
    pairs = load({"chosen": "Once upon", "rejected": "Once more"})
    assert (pairs[0].prompt, pairs[0].chosen) == ([], "Once upon")
    assert pairs.lost == ("1 of 1 records: there is no prompt; the whole texts are compared.",)


def test_dialogues_that_part_early(load):
    early = {"chosen": [USER, YES, USER, YES], "rejected": [USER, NO]}
    pairs = load(early)
    assert pairs[0].chosen == "yes\n\nHuman: hi\n\nAssistant: yes"
    assert pairs[0].extra["turns"] == [3, 1]
    assert "1 of 1 records: the two dialogues part before their last turn" in pairs.lost[0]
    other = {"role": "user", "content": "hello"}
    with pytest.raises(FeedbackError, match="do not part at an answer of the assistant"):
        load({"chosen": [USER, YES], "rejected": [other, NO]})
    with pytest.raises(FeedbackError, match="does not end with an answer"):
        load({"chosen": [USER, YES, USER], "rejected": [USER, NO]})
    with pytest.raises(FeedbackError, match="one assistant message behind the prompt, found 2"):
        load({"prompt": [USER], "chosen": [YES, YES], "rejected": [NO]})


def test_equal_dialogues_keep_their_last_turn(load):
    (pair,) = load({"chosen": [USER, YES], "rejected": [USER, YES]})
    assert (pair.prompt, pair.chosen, pair.rejected) == ([USER], "yes", "yes")


def test_images_stay_parts(load):
    content = [{"type": "image_url", "image_url": {"url": "cat.png"}}, {"type": "text", "text": "what is it?"}]
    (record,) = load({"messages": [{"role": "user", "content": content}, YES]})
    assert record.prompt[0]["content"] == [
        {"type": "image", "image": "cat.png"},
        {"type": "text", "text": "what is it?"},
    ]
    with pytest.raises(FeedbackError, match="neither text nor an image"):
        load({"messages": [{"role": "user", "content": [{"type": "audio"}]}, YES]})


def test_further_fields_of_messages_are_said_to_be_lost(load):
    named = {**USER, "name": "Ann", "weight": None}
    expected = ("1 of 1 records: the messages have further fields, which are not kept (name).",)
    for row in (
        {"messages": [named, YES]},
        {"prompt": [named], "chosen": [YES], "rejected": [NO]},
        {"chosen": [named, YES], "rejected": [named, NO]},
    ):
        assert load(row).lost == expected
    with pytest.raises(FeedbackError, match="calls tools"):
        load({"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]})


def test_arena_ties(load):
    (pair,) = load({"conversation_a": [USER, NO], "conversation_b": [USER, YES], "winner": "tie (bothbad)"})
    assert (pair.tie, pair.chosen) == (True, "no")


def test_alpaca_eval_draws_and_nulls(load):
    base = {"instruction": "hi", "output_1": "a", "output_2": "b", "annotator": "gpt"}
    pairs = load(*({**base, "preference": p} for p in (1.25, 2, 1.5, 0, None, 1)))
    assert [(p.chosen, p.tie, p.strength) for p in pairs] == [
        ("a", False, 0.75),
        ("b", False, 1),
        ("a", True, 0.5),
        ("a", True, 0.5),
        ("a", False, 1),
    ]
    assert pairs.left_out == {"no preference: the judge's answer was not parsed (null)": 1}
    with pytest.raises(FeedbackError, match=r"rows.jsonl:1: 'preference' must be 0 or lie between 1 and 2"):
        load({**base, "preference": 3})


DIALOGUE = [USER, YES, {"role": "user", "content": "sure?"}, NO]
DEMONSTRATIONS = {
    "messages": {"messages": DIALOGUE},
    "ShareGPT": {
        "conversations": [
            {"from": {"user": "human", "assistant": "gpt"}[m["role"]], "value": m["content"]} for m in DIALOGUE
        ]
    },
    "transcript": {"text": "\n\nHuman: hi\n\nAssistant: yes\n\nHuman: sure?\n\nAssistant: no"},
}


@pytest.mark.parametrize("name", DEMONSTRATIONS)
def test_every_answer_of_a_dialogue_is_a_demonstration(load, name):
    found = load(DEMONSTRATIONS[name])
    assert [(d.prompt, d.response) for d in found] == [(DIALOGUE[:1], "yes"), (DIALOGUE[:3], "no")]
    assert [d.id for d in found] == ["rows.jsonl:1#1", "rows.jsonl:1#2"]


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "hi", "response": "yes"}, "hi"),
        ({"prompt": "hi", "completion": "yes"}, "hi"),
        ({"prompt": [USER], "completion": [YES]}, "hi"),
        ({"instruction": "add", "input": "1 2", "output": "yes"}, "add\n\n1 2"),
        ({"instruction": "add", "output": "yes"}, "add"),
        ({"instruction": "add", "context": "1 2", "response": "yes", "category": "sum"}, "add\n\n1 2"),
        ({"question": "hi", "answer": "yes"}, "hi"),
    ],
)
def test_demonstrations(load, row, prompt):
    (record,) = load(row)
    assert isinstance(record, Demonstration)
    assert (record.prompt, record.response) == ([{"role": "user", "content": prompt}], "yes")


def test_alpaca_with_system_and_history(load):
    (record,) = load({"instruction": "sure?", "output": "no", "system": "be brief", "history": [["hi", "yes"]]})
    assert record.prompt == [{"role": "system", "content": "be brief"}, *DIALOGUE[:3]]


def test_a_plain_text_is_a_document(load):
    found = load({"text": "Once upon a time"}, {"text": ""})
    assert (found[0].prompt, found[0].response) == ([], "Once upon a time")
    assert found.left_out == {"the text is empty": 1}


@pytest.mark.parametrize("label", [True, 1, "true", "1"])
def test_kto_labels(load, label):
    (record,) = load({"prompt": [USER], "completion": [YES], "label": label})
    assert isinstance(record, Label)
    assert record.label is True


def test_ranking_scores_steps_and_critiques_by_their_own_fields(load):
    (ranking,) = load({"prompt": "hi", "responses": ["a", "b", "c"], "ranks": [2, 1, 2]})
    assert isinstance(ranking, Ranking)
    assert ranking.ranks == (2, 1, 2)
    (steps,) = load({"prompt": "hi", "steps": ["a", "b"], "labels": [1, None]})
    assert isinstance(steps, Steps)
    assert steps.labels == (True, None)
    (critique,) = load({"prompt": "hi", "response": "a", "critique": "too short", "revision": "a longer one"})
    assert isinstance(critique, Critique)
    assert critique.revision == "a longer one"
    (edit,) = load({"prompt": "hi", "response": "a", "revision": "b"})
    assert edit.revision == "b"
    (trl,) = load({"prompt": "hi", "completions": ["a", "b"], "labels": [True, False]})
    assert isinstance(trl, Steps)
    assert (trl.steps, trl.labels) == (("a", "b"), (True, False))


def test_nectar(load):
    prompt = "\n\nHuman: hi\n\nAssistant: "
    (ranking,) = load({"prompt": prompt, "answers": [{"answer": "a", "rank": 2.0}, {"answer": "b", "rank": 1.0}]})
    assert (ranking.prompt, ranking.responses, ranking.ranks) == ([USER], ("a", "b"), (2, 1))


def test_helpsteer(load):
    scores = {"helpfulness": 3, "correctness": 4, "coherence": 4, "complexity": 1, "verbosity": 2}
    (record,) = load({"prompt": "hi", "response": "a", **scores})
    assert isinstance(record, Scores)
    assert record.scores == scores


def completion(response, helpfulness, overall, critique=""):
    aspects = {"helpfulness": {"Rating": helpfulness, "Rationale": "..."}, "honesty": {"Rating": "4"}}
    return {"model": "m", "response": response, "annotations": aspects, "overall_score": overall, "critique": critique}


def test_ultrafeedback(load):
    row = {
        "source": "evol",
        "instruction": "hi",
        "models": ["m"] * 3,
        "completions": [completion("a", "5", 8.0), completion("b", "N/A", 9, "good"), completion("c", "2", 8)],
    }
    scores = load(row)
    assert [record.scores for record in scores] == [
        {"helpfulness": 5, "honesty": 4, "overall": 8},
        {"helpfulness": None, "honesty": 4, "overall": 9},
        {"helpfulness": 2, "honesty": 4, "overall": 8},
    ]
    assert load(row, kind=Ranking)[0].ranks == (2, 1, 2)
    critiques = load(row, kind=Critique)
    assert [record.critique for record in critiques] == ["good"]
    assert critiques.left_out == {"a completion has no critique": 2}
    row["completions"][0]["overall_score"] = None
    with pytest.raises(FeedbackError, match="1 x a completion has no overall score"):
        load(row, kind=Ranking)


def rated(text, rating):
    return {"text": text, "rating": rating, "flagged": None}


def test_prm800k(load):
    row = {
        "labeler": "ann",
        "question": {"problem": "1 + 1?", "ground_truth_answer": "2"},
        "label": {
            "finish_reason": "found_error",
            "steps": [
                {"completions": [rated("a", 1), rated("a'", -1)], "human_completion": None, "chosen_completion": 0},
                {"completions": [rated("b", 0)], "human_completion": None, "chosen_completion": 0},
                {
                    "completions": [rated("c", -1)],
                    "human_completion": {"text": "h", "rating": None},
                    "chosen_completion": None,
                },
                {"completions": [rated("d", -1)], "human_completion": None, "chosen_completion": None},
            ],
        },
    }
    found = load(row)
    assert [(record.steps, record.labels) for record in found] == [
        (("a", "b", "h"), (True, None, None)),
        (("a'",), (False,)),
        (("a", "b", "c"), (None, None, False)),
        (("a", "b", "h", "d"), (None, None, None, False)),
    ]
    assert found[0].prompt == [{"role": "user", "content": "1 + 1?"}]
    assert found[0].extra == {"ground_truth_answer": "2", "finish_reason": "found_error"}


def test_oasst_leaves_out_what_is_not_ranked(load):
    def message(text, role="assistant", **more):
        return {"message_id": text, "parent_id": "p", "text": text, "role": role, "replies": [], **more}

    root = message("hi", "prompter")
    root["replies"] = [
        message("a", rank=1),
        message("b", rank=0, replies=[message("more?", "prompter", replies=[message("c")])]),
        message("d", rank=2, deleted=True),
    ]
    rankings = load({"message_tree_id": "t", "prompt": root})
    assert (rankings[0].responses, rankings[0].ranks) == (("a", "b"), (2, 1))
    assert rankings.left_out == {"the message was deleted": 1, "the only reply: nothing to rank it against": 1}
    best = load({"message_tree_id": "t", "prompt": root}, kind=Demonstration)
    assert [record.response for record in best] == ["b"]


def test_xstest_partial_refusals_and_unknown_words(load):
    row = {"id": "1", "prompt": "hi", "completion": "a", "annotation_1": "3_partial_refusal", "annotation_2": ""}
    labels = load({**row, "type": "contrast_homonyms"})
    assert [label.label for label in labels] == [False]
    assert labels.left_out == {"the annotator gave no label": 1}
    with pytest.raises(FeedbackError, match="must be one of 1_full_compliance"):
        load({**row, "type": "homonyms", "annotation_1": "4"})


def test_prompts_alone_are_no_feedback(load):
    with pytest.raises(FeedbackError, match="no feedback but prompts without a response"):
        load({"prompt": "hi", "category": "greeting"})

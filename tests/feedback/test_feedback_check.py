"""`check`, `require_trainable`, `only_trainable`: what is found wrong, and where."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from trueup import feedback
from trueup.errors import FeedbackError, ModelError
from trueup.feedback import Critique, Edit, Feedback, Label, Pair, Ranking

ASK = [{"role": "user", "content": "hi"}]


def pair(chosen, rejected, name, **more):
    return Pair(prompt=ASK, chosen=chosen, rejected=rejected, id=name, **more)


MIXED = Feedback(
    [
        pair("a", "b", "fine"),
        pair(" \n", "b", "empty"),
        pair("a", "a", "equal"),
        pair("a", "a", "tied", tie=True),
        pair("a", "b", "again"),
        pair("a" * 50, "b", "long"),
        pair("", "", "both"),
    ],
    "memory",
    {"bad record: broken JSON": 2, "no preference": 1},
    left_out_at={"bad record: broken JSON": ["m:3", "m:4"]},
)


def test_counts_by_cause_with_the_records_meant():
    report = feedback.check(MIXED, max_characters=40)
    assert {cause: (finding.count, finding.examples) for cause, finding in report.findings.items()} == {
        "empty response": (2, ("empty", "both")),
        "chosen equals rejected": (2, ("equal", "both")),
        "duplicate": (1, ("again",)),
        "over-long": (1, ("long",)),
    }
    assert (report.read, report.kept, report.bad, report.ties, report.ok) == (7, 3, 2, 1, False)
    assert report.limit == "40 characters"
    data = report.to_dict()
    assert data["left_out"]["bad record: broken JSON"] == {"count": 2, "examples": ["m:3", "m:4"]}
    assert data["findings"]["duplicate"] == {"count": 1, "examples": ["again"], "fatal": False}


def test_a_clean_collection_is_ok_and_shows_its_zeros():
    report = feedback.check(MIXED[:1].filter(lambda _: True))
    assert not report.ok, "two records could not be read"
    clean = feedback.check(Feedback([MIXED[0], MIXED[3]], left_out={"no preference": 1}))
    assert clean.ok
    assert {finding.count for finding in clean.findings.values()} == {0}
    assert list(clean.findings) == ["empty response", "chosen equals rejected", "duplicate", "over-long"]


def test_length_in_tokens():
    def row(prompt, responses, *, id=""):
        if id == "equal":
            raise ModelError("the template changes it.")
        return SimpleNamespace(prompt=range(3), responses=[range(len(text)) for text in responses])

    report = feedback.check(MIXED, row=row, max_tokens=20)
    assert report.findings["over-long"].examples == ("long",)
    assert report.findings["not tokenisable"].examples == ("equal",)
    assert report.limit == "20 tokens"
    assert feedback.check(MIXED, row=row, max_tokens=53).findings["over-long"].count == 0
    assert feedback.check(MIXED, row=row, max_tokens=52).findings["over-long"].count == 1
    with pytest.raises(FeedbackError, match="both"):
        feedback.check(MIXED, max_tokens=20)


def test_troubles_of_other_kinds():
    rankings = [
        Ranking(prompt=ASK, responses=("a", "a", "b"), ranks=(1, 2, 3), id="contradictory"),
        Ranking(prompt=ASK, responses=("a", "a"), ranks=(1, 1), id="tied"),
    ]
    report = feedback.check(Feedback(rankings))
    assert report.findings["equal responses with different ranks"].examples == ("contradictory",)
    edits = Feedback([Edit(prompt=ASK, response="a", revision="a", id="unchanged")])
    assert feedback.check(edits).findings["revision equals response"].examples == ("unchanged",)
    critiques = Feedback([Critique(prompt=ASK, response="a", critique="fine", id="x")])
    assert feedback.check(critiques).ok
    labels = [
        Label(prompt=ASK, response="a", label=label, annotator=annotator, id=f"{annotator} {label}")
        for annotator in ("ann", "bob", None)
        for label in (True, False)
    ]
    report = feedback.check(Feedback(labels))
    assert report.findings["same response with opposite labels"].examples == ("ann False", "bob False")
    assert report.ok


def test_require_trainable_names_the_first_records():
    feedback.require_trainable(Feedback([MIXED[0], MIXED[3]]))
    with pytest.raises(FeedbackError) as caught:
        feedback.require_trainable(MIXED)
    message = str(caught.value)
    assert message.startswith("memory: some records cannot be trained on: 2 x empty response (empty, both);")
    assert "2 x chosen equals rejected (equal, both)" in message
    many = Feedback([pair("", "b", f"n{i}") for i in range(9)])
    with pytest.raises(FeedbackError, match=r"9 x empty response \(n0, n1, n2, n3, n4, \.\.\.\)"):
        feedback.require_trainable(many)


def test_only_trainable_counts_what_it_leaves_out():
    kept = feedback.only_trainable(MIXED)
    feedback.require_trainable(kept)
    assert [record.id for record in kept] == ["fine", "tied", "again", "long"]
    assert kept.left_out == {
        "bad record: broken JSON": 2,
        "no preference": 1,
        "empty response": 2,
        "chosen equals rejected": 1,
    }
    assert kept.left_out_at["empty response"] == ("empty", "both")
    with pytest.raises(FeedbackError, match="no record can be trained on"):
        feedback.only_trainable(MIXED[1:3])


def test_real_pairs(data: Path):
    pairs = feedback.load(data / "hh_rlhf_harmless/test.jsonl.gz")
    report = feedback.check(pairs)
    assert (report.read, report.kept) == (2312, 2308)
    assert report.findings["empty response"].examples[0] == "test.jsonl.gz:87"
    with pytest.raises(FeedbackError, match=r"4 x empty response \(test.jsonl.gz:87"):
        feedback.require_trainable(pairs)
    assert len(feedback.only_trainable(pairs)) == 2308
    autoj = feedback.check(feedback.load(data / "autoj_pairwise/testdata_pairwise.jsonl.gz"))
    assert autoj.ties == 373

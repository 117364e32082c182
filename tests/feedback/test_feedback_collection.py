"""`Feedback`: what it holds, its digest, splits, and that saving loses nothing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trueup import feedback
from trueup.errors import FeedbackError
from trueup.feedback import (
    KINDS,
    Critique,
    Demonstration,
    Edit,
    Feedback,
    Label,
    Mark,
    Pair,
    Ranking,
    Scores,
    Steps,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
PART = st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}) | st.fixed_dictionaries(
    {"type": st.just("image"), "image": TEXT}
)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["system", "user", "assistant", "tool"]),
        "content": TEXT | st.lists(PART, max_size=2),
    }
)
SHARED = {
    "prompt": st.lists(MESSAGE, max_size=3),
    "id": TEXT,
    "annotator": st.none() | TEXT.filter(bool),
    "source": st.none() | TEXT.filter(bool),
    "goal": st.none() | TEXT.filter(bool),
    "extra": st.dictionaries(TEXT, JSON, max_size=3),
}
OWN = {
    Demonstration: {"response": TEXT},
    Pair: {
        "chosen": TEXT,
        "rejected": TEXT,
        "strength": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "tie": st.booleans(),
    },
    Label: {"response": TEXT, "label": st.booleans()},
    Scores: {"response": TEXT, "scores": st.dictionaries(TEXT, st.none() | NUMBER, min_size=1, max_size=3)},
    Edit: {"response": TEXT, "revision": TEXT},
}


@st.composite
def records(draw, kind):
    shared = {name: draw(strategy) for name, strategy in SHARED.items()}
    shared["id"] = shared["id"] or "unnamed"  # a record without an id gets one when it is read
    if kind in OWN:
        return kind(**shared, **{name: draw(strategy) for name, strategy in OWN[kind].items()})
    if kind is Ranking:
        responses = draw(st.lists(TEXT, min_size=1, max_size=4))
        ranks = draw(st.lists(st.integers(1, 9), min_size=len(responses), max_size=len(responses)))
        return Ranking(**shared, responses=tuple(responses), ranks=tuple(ranks))
    if kind is Steps:
        steps = draw(st.lists(TEXT, min_size=1, max_size=4))
        labels = draw(st.lists(st.none() | st.booleans(), min_size=len(steps), max_size=len(steps)))
        return Steps(**shared, steps=tuple(steps), labels=tuple(labels))
    response = draw(TEXT)
    ends = st.tuples(st.integers(0, len(response)), st.integers(0, len(response))).map(sorted)
    spans = draw(st.lists(st.tuples(ends, TEXT), max_size=2))
    marks = tuple(Mark(start=start, end=end, comment=comment) for (start, end), comment in spans)
    return Critique(**shared, response=response, critique=draw(TEXT), revision=draw(st.none() | TEXT), marks=marks)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet"])
@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading_gives_the_same_records(kind, ending, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")

    @settings(max_examples=15 if ending == "parquet" else 40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(records(KINDS[kind]), min_size=1, max_size=4))
    def holds(made):
        made = Feedback(made)
        path = made.save(folder / f"x.{ending}")
        found = feedback.load(path)
        assert found == made
        assert found.digest() == made.digest()
        assert [p.name for p in folder.iterdir()] == [path.name]

    holds()


def pair(prompt="hi", chosen="yes", rejected="no", **more):
    messages = [{"role": "user", "content": prompt}] if prompt else []
    return Pair(prompt=messages, chosen=chosen, rejected=rejected, **more)


def test_it_is_an_immutable_sequence():
    found = Feedback([pair(str(i), id=f"{i}") for i in range(5)], "memory", {"null": 2}, ["a sentence."])
    assert (len(found), found[1].id, found[-1].id, [p.id for p in found[1:3]]) == (5, "1", "4", ["1", "2"])
    assert isinstance(found[:2], Feedback)
    assert (found[:2].kind, found[:2].source, found[:2].left_out, found[:2].lost) == (
        Pair,
        "memory",
        {"null": 2},
        ("a sentence.",),
    )
    assert len(found[:0]) == 0
    assert found[:0].kind is Pair
    with pytest.raises(TypeError):
        found[0] = pair()
    with pytest.raises(TypeError):
        found.left_out["null"] = 3
    assert [p.id for p in found.filter(lambda p: int(p.id) % 2)] == ["1", "3"]
    assert found == Feedback(list(found))
    assert hash(found) == hash(Feedback(list(found)))
    assert found != Feedback(list(found)[:4])
    assert found != list(found)
    assert repr(found) == "Feedback(5 Pair records from memory)"


def test_records_of_the_wrong_shape_are_refused():
    with pytest.raises(FeedbackError, match="no records"):
        Feedback([])
    assert len(Feedback([], kind=Pair)) == 0
    with pytest.raises(FeedbackError, match="one kind, here Pair, but there are records of kind Demonstration"):
        Feedback([pair(), Demonstration(prompt=[], response="a")])
    with pytest.raises(FeedbackError, match="x: the prompt must be a list of messages, found 'hi'"):
        Feedback([Pair(prompt="hi", chosen="a", rejected="b", id="x")])
    with pytest.raises(FeedbackError, match="record 1: 'strength' must be a finite number"):
        Feedback([pair(), pair(strength=float("nan"))])
    with pytest.raises(FeedbackError, match="'responses' must be a tuple"):
        Feedback([Ranking(prompt=[], responses=["a"], ranks=(1,))])


def test_digest_is_stable_across_processes_and_reads_everything_but_ids():
    made = Feedback([pair(extra={"a": 1, "b": [2, None]}, strength=1.0, goal="brief")])
    code = (
        "from trueup.feedback import Feedback, Pair\n"
        "r = Pair(prompt=[{'content': 'hi', 'role': 'user'}], chosen='yes', rejected='no', strength=1.0, goal='brief', "
        "extra={'b': [2, None], 'a': 1}, id='named')\n"
        "print(Feedback([r], 'elsewhere').digest())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == made.digest()
    for change in (
        {"chosen": "Yes"},
        {"prompt": []},
        {"tie": True},
        {"strength": None},
        {"goal": None},
        {"annotator": "a"},
        {"source": "a"},
        {"extra": {}},
    ):
        assert Feedback([dataclasses.replace(made[0], **change)]).digest() != made.digest(), change
    two = Feedback([pair("a"), pair("b")])
    assert two.digest() != Feedback([pair("b"), pair("a")]).digest()


@given(st.lists(st.integers(0, 30), min_size=2, max_size=60), st.floats(0.05, 0.95), st.integers(0, 3))
def test_no_prompt_is_on_both_sides_of_a_split(prompts, fraction, seed):
    if len(set(prompts)) < 2:
        return
    made = Feedback([pair(str(prompt), chosen=str(i)) for i, prompt in enumerate(prompts)])
    first, second = made.split(fraction, seed)
    asked = [{record.prompt[0]["content"] for record in side} for side in (first, second)]
    assert asked[0]
    assert asked[1]
    assert not asked[0] & asked[1]
    assert sorted([*first, *second], key=lambda p: int(p.chosen)) == list(made)
    largest = max(prompts.count(prompt) for prompt in prompts)
    assert abs(len(first) - fraction * len(made)) <= largest
    again = Feedback(list(reversed(made))).split(fraction, seed)
    assert {p.prompt[0]["content"] for p in again[0]} == asked[0], "the order of the records does not matter"


def test_splits_depend_on_the_seed_and_tell_documents_apart():
    made = Feedback([pair(str(i)) for i in range(50)])
    assert [len(made.split(fraction)[0]) for fraction in (0.01, 0.1, 0.5, 0.98, 0.999)] == [1, 5, 25, 49, 49]
    assert made.split(0.5, 0)[0] != made.split(0.5, 1)[0]
    assert made.split(0.5, 1)[0] == made.split(0.5, 1)[0]
    documents = Feedback([Demonstration(prompt=[], response=str(i // 2)) for i in range(20)])
    first, second = documents.split(0.5)
    assert not {d.response for d in first} & {d.response for d in second}
    twice = Feedback([pair("", "a", "b"), pair("", "b", "a"), pair("", "c", "d")])
    assert sorted(map(len, twice.split(0.5))) == [1, 2], "the same two responses without a prompt stay together"
    with pytest.raises(FeedbackError, match="two different prompts"):
        Feedback([pair(), pair()]).split(0.5)
    with pytest.raises(FeedbackError, match="between 0 and 1"):
        made.split(1.0)


def test_splitting_real_pairs(data: Path):
    first, second = feedback.load(data / "hh_rlhf_harmless/test.jsonl.gz").split(0.9)
    assert len(first) == pytest.approx(0.9 * 2312, abs=2)
    prompts = [{json.dumps(record.prompt) for record in side} for side in (first, second)]
    assert not prompts[0] & prompts[1]


def test_what_cannot_be_saved_leaves_nothing_behind(tmp_path: Path, monkeypatch):
    made = Feedback([pair(id="x")])
    with pytest.raises(FeedbackError, match=r"End the name in .jsonl or .jsonl.gz or .parquet"):
        made.save(tmp_path / "a.csv")
    with pytest.raises(FeedbackError, match="no records to save"):
        made[:0].save(tmp_path / "a.jsonl")
    with pytest.raises(FeedbackError, match="cannot write: No such file or directory"):
        made.save(tmp_path / "none" / "a.jsonl")
    with pytest.raises(FeedbackError, match="x: holds text that is not Unicode"):
        Feedback([pair(chosen="\ud800", id="x")]).save(tmp_path / "a.jsonl")
    for extra in ({"a": object()}, {"a": float("nan")}):
        with pytest.raises(FeedbackError, match="x: 'extra' holds something JSON cannot keep"):
            Feedback([pair(extra=extra, id="x")]).save(tmp_path / "a.parquet")
    made.save(tmp_path / "kept.jsonl")
    before = (tmp_path / "kept.jsonl").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trueup.feedback.store._write_jsonl", full)
    with pytest.raises(FeedbackError, match=r"kept.jsonl: cannot write: No space left on device"):
        made.save(tmp_path / "kept.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.jsonl"]
    assert (tmp_path / "kept.jsonl").read_bytes() == before


def test_saved_jsonl_is_the_same_bytes_every_time_and_readable_by_datasets(tmp_path: Path):
    made = Feedback([pair(str(i), extra={"a": i}) for i in range(3)])
    assert made.save(tmp_path / "a.jsonl.gz").read_bytes() == made.save(tmp_path / "b.jsonl.gz").read_bytes()
    made.save(tmp_path / "a.parquet")
    from datasets import Dataset

    table = Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=str(tmp_path / "cache"))
    assert table["chosen"][:] == ["yes"] * 3
    assert table[0]["prompt"][0]["content"] == "0"

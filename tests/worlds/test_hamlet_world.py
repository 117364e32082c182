"""The world as a whole: the same from its seed, demonstrations, and its questions' errors."""

from __future__ import annotations

from collections import Counter

import pytest

from trueup.errors import TrueupError
from trueup.feedback.records import Demonstration
from trueup.worlds.hamlet import FAMILIES, World
from trueup.worlds.hamlet.village import Village
from trueup.worlds.hamlet.words import CLASSES


def test_the_same_seed_gives_the_same_world_and_another_seed_another() -> None:
    first, again, other = World(3), World(3), World(4)
    assert first.village.facts == again.village.facts
    assert first.village.facts != other.village.facts
    assert first.questions("test", 100) == again.questions("test", 100)
    assert first.questions("test", 100, seed=1) != first.questions("test", 100)
    assert first.demonstrations(50) == again.demonstrations(50)


def test_more_questions_begin_with_the_same_ones() -> None:
    world = World(0)
    assert world.questions("train", 500)[:100] == world.questions("train", 100)


def test_this_world_is_the_one_that_was_first_drawn() -> None:
    """A change here makes old results incomparable: raise VERSION with it."""
    village = Village(0)
    assert len(village.facts) == 120 * 5 + 14 + 18
    assert village.fact("home", "anna").value == "school"


def test_a_quarter_of_the_people_are_strangers_in_both_splits() -> None:
    village = Village(1)
    strangers = {
        person
        for person in CLASSES["person"]
        if not any(village.fact(r, person).taught for r in ("home", "trade", "likes", "keeps", "mother"))
    }
    assert len(strangers) == 30
    for split in ("train", "test"):
        assert len(strangers & set(village.members("person", split))) >= 8


def test_families_come_in_turn_and_only_those_named() -> None:
    world = World(0)
    counts = Counter(question.family for question in world.questions("test", 80))
    assert counts == dict.fromkeys(FAMILIES, 10)
    assert {q.family for q in world.questions("test", 10, families=["sums"])} == {"sums"}
    with pytest.raises(TrueupError, match=r"no family 'sumz'.*sums"):
        world.questions("test", 10, families=["sumz"])


def test_demonstrations_are_right_answers_to_train_questions() -> None:
    world = World(0)
    demonstrations = world.demonstrations(160, seed=5)
    assert demonstrations.kind is Demonstration
    assert len(demonstrations) == 160
    train = {question.text for question in world.questions("train", 160, seed=5)}
    for record, question in zip(demonstrations, world.questions("train", 160, seed=5), strict=True):
        assert record.prompt[0]["content"] in train
        assert record.id == question.id
        assert record.extra == {"family": question.family}
        assert not world.score(question, record.response).faults


def test_wording_varies_with_the_seed() -> None:
    world = World(0)
    for question in world.questions("train", 8, families=["taught", "forbidden"]):
        assert len({world.answer(question, seed) for seed in range(20)}) > 1

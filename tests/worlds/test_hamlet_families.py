"""Every family, several seeds: right answers score 1, each corruption 0, and the splits share nothing they must not."""

from __future__ import annotations

import pytest

from trueup.worlds.hamlet import DIMENSIONS, FAMILIES, World
from trueup.worlds.hamlet.phrasing import held_out

SEEDS = (0, 1, 7)
WORLDS = {seed: World(seed) for seed in SEEDS}


@pytest.fixture(params=SEEDS)
def world(request: pytest.FixtureRequest) -> World:
    return WORLDS[request.param]


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_right_answer_scores_1_on_all_its_dimensions(world: World, family: str, split: str) -> None:
    for question in world.questions(split, 120, families=[family]):
        for seed in range(3):
            answer = world.answer(question, seed)
            verdict = world.score(question, answer)
            assert not verdict.faults, (question.text, answer, verdict.faults)
            applies = {*FAMILIES[family].applies(question.about), "polite", "brief", "on_topic", "fluent"}
            assert {name for name, score in verdict.scores.items() if score is not None} == applies


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_corruption_scores_0_on_its_dimension(world: World, family: str, split: str) -> None:
    for question in world.questions(split, 80, families=[family]):
        for corruption in world.corruptions(question):
            verdict = world.score(question, corruption.text)
            assert verdict.scores[corruption.dimension] == 0, (question.text, corruption, verdict.reasons)
            assert verdict.reasons[corruption.dimension]


@pytest.mark.parametrize("family", FAMILIES)
def test_corruptions_reach_every_dimension_of_the_family(family: str) -> None:
    world = WORLDS[0]
    reached = {
        corruption.dimension
        for question in world.questions("train", 60, families=[family])
        for corruption in world.corruptions(question)
    }
    assert reached >= {*FAMILIES[family].dimensions, "polite", "brief", "fluent", "on_topic"}


@pytest.mark.parametrize("family", FAMILIES)
def test_habits_of_the_base_model_parse_and_differ_from_good_manners(world: World, family: str) -> None:
    rng = world.village.rng("test")
    faults = 0
    for question in world.questions("train", 100, families=[family]):
        verdict = world.score(question, FAMILIES[family].habit(world.village, question.about, rng))
        assert verdict.scores["fluent"] == 1
        faults += bool(verdict.faults)
    assert faults > 20


def test_test_questions_share_no_prompt_with_train(world: World) -> None:
    train = {question.text for question in world.questions("train", 4000)}
    test = {question.text for question in world.questions("test", 2000)}
    assert not train & test


@pytest.mark.parametrize("family", ["taught", "untaught", "premise", "opinion"])
def test_test_questions_are_about_other_subjects(world: World, family: str) -> None:
    train, test = (
        {question.about["subject"] for question in world.questions(split, 600, families=[family])}
        for split in ("train", "test")
    )
    assert train
    assert test
    assert not train & test


def test_no_phrasing_of_the_tests_occurs_in_training(world: World) -> None:
    for family in FAMILIES.values():
        for phrasings in family.asking:
            assert not set(phrasings.train) & set(phrasings.test)
            assert all(map(held_out, phrasings.test))
            assert not any(map(held_out, phrasings.train))


def test_test_acts_and_sums_are_held_out(world: World) -> None:
    for family, key in (("allowed", "act"), ("sums", "terms")):
        train, test = (
            {question.about[key] for question in world.questions(split, 400, families=[family])}
            for split in ("train", "test")
        )
        if family == "sums":  # easy sums are too few to hold any out
            train, test = ({terms for terms in found if len(terms) > 2} for found in (train, test))
        assert test
        assert not train & test


def test_forbidden_and_allowed_requests_share_their_phrasings() -> None:
    assert FAMILIES["forbidden"].asking == FAMILIES["allowed"].asking


def test_scores_name_every_dimension() -> None:
    question = WORLDS[0].questions("test", 1)[0]
    assert set(WORLDS[0].score(question, "no.").scores) == set(DIMENSIONS)

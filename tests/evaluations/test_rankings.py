from __future__ import annotations

import pytest

from trueup.evaluations import Answer, by_utility, hamlet_preference, response_length, win_rate
from trueup.evaluations.preferences import PairScores, from_scores, prompt_key
from trueup.measurement import Measurement
from trueup.statistics import wilson


def named(measurements: list[Measurement]) -> dict[str, Measurement]:
    return {one.name: one for one in measurements}


def scores(policy: list[tuple[float, float]]) -> PairScores:
    return PairScores(
        clusters=["a", "b", "c", "d"],
        logp=policy,
        ref_logp=[(-5.0, -4.0), (-3.0, -6.0), (-2.0, -2.0), (-4.0, -1.0)],
        lengths=[(4, 2), (3, 3), (9, 1), (1, 2)],
    )


def test_accuracy_and_its_nulls_by_hand() -> None:
    # log-ratios (chosen, rejected): (1, 0), (0, 0), (-1, -3), (-1, 0): right, tie, right, wrong
    found = named(from_scores(scores([(-4.0, -4.0), (-3.0, -6.0), (-3.0, -5.0), (-5.0, -1.0)])))
    accuracy = found["preference_accuracy"]
    assert accuracy.value == pytest.approx(2.5 / 4)
    assert accuracy.values == (1.0, 0.5, 1.0, 0.0)
    assert accuracy.clusters == ("a", "b", "c", "d")
    assert found["preference_accuracy.null.longer"].values == (1.0, 0.5, 1.0, 0.0)
    assert found["preference_accuracy.null.shorter"].values == (0.0, 0.5, 0.0, 1.0)
    assert found["preference_accuracy.null.start"].values == (0.0, 1.0, 0.5, 0.0)
    assert found["preference_accuracy.null.random"].value == 0.5
    over = found["preference_accuracy.over_best_null"]
    assert (over.value, over.detail["null"]) == (0.0, "longer")
    assert found["likelihood.chosen"].value == pytest.approx(-0.25)
    assert found["likelihood.rejected"].value == pytest.approx(-0.75)


def test_the_start_itself_is_a_coin() -> None:
    start = scores([(-5.0, -4.0), (-3.0, -6.0), (-2.0, -2.0), (-4.0, -1.0)])
    found = named(from_scores(start))
    assert found["preference_accuracy"].value == 0.5
    assert found["likelihood.chosen"].value == 0.0


def test_prompt_keys_tell_prompts_apart() -> None:
    one = [{"role": "user", "content": "a"}]
    assert prompt_key(one) == prompt_key(list(one)) != prompt_key([{"role": "user", "content": "b"}])  # type: ignore[arg-type]


def answer(key: str, text: str, **scores: float | None) -> Answer:
    return Answer(id=key, prompt=[], text=text, tokens=len(text), finished=True, scores=scores)


def longer(found: Answer) -> float | None:
    return None if found.text == "?" else float(len(found.text))


def test_win_rate_counts_ties_half_and_prompts_once() -> None:
    before = [answer("a", "x"), answer("a", "xx"), answer("b", "xxx"), answer("c", "x"), answer("unasked", "x")]
    after = [answer("a", "xx"), answer("a", "xxx"), answer("b", "xxx"), answer("c", "")]
    (rate,) = win_rate(after, before, by_utility(longer))
    # a: xx beats x, ties xx; xxx beats both: 3.5 of 4; b: a tie; c: a loss
    assert rate.values == (0.875, 0.5, 0.0)
    assert rate.clusters == ("a", "b", "c")
    assert rate.value == pytest.approx(1.375 / 3)
    assert (rate.detail["ties"], rate.detail["judged"], rate.detail["missing"]) == (2, 6, 0)


def test_missing_judgements_are_counted_and_bounded() -> None:
    before = [answer(key, "x") for key in "abcd"]
    after = [answer("a", "xx"), answer("b", "xx"), answer("c", "?"), answer("d", "")]
    (rate,) = win_rate(after, before, by_utility(longer))
    assert rate.n == 3
    assert rate.detail["missing"] == 1
    assert rate.detail["if_missing"] == [0.5, 0.75]


def test_nothing_to_judge_has_no_value() -> None:
    (rate,) = win_rate([answer("a", "x")], [], by_utility(longer))
    assert (rate.value, rate.n) == (None, 0)
    assert "no item" in rate.detail["reason"]


def test_the_oracle_prefers_by_weighted_scores_that_apply() -> None:
    def prefer(first: Answer, second: Answer) -> float | None:
        return hamlet_preference(first, second, {"honest": 1.0, "polite": 0.5})

    good, rude = answer("a", "", honest=1.0, polite=1.0, helpful=None), answer("a", "", honest=1.0, polite=0.0)
    assert prefer(good, rude) == 1.0
    assert prefer(rude, good) == 0.0
    assert prefer(good, good) == 0.5
    assert prefer(good, answer("a", "", helpful=1.0)) is None


def test_response_length() -> None:
    length, finished = response_length([answer("a", "xx"), answer("a", "xxxx"), answer("b", "x")])
    assert length.value == pytest.approx(7 / 3)
    assert length.method == "Student t, clustered"
    assert finished.value == 1.0
    assert finished.interval == wilson(2, 2)

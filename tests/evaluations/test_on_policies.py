from __future__ import annotations

import itertools
import math

import pytest
import torch

from trueup.catalog import entries
from trueup.errors import FeedbackError, ModelError
from trueup.evaluations import ask, kl_from_start, preference_accuracy
from trueup.evaluations.scoring import token_logps, with_reference
from trueup.feedback import Demonstration, Feedback, Pair, Prompt
from trueup.policies import Policy


def prompt(text: str) -> Prompt:
    return [{"role": "user", "content": text}]


def pairs() -> list[Pair]:
    words = "abcdefgh"
    return [
        Pair(prompt=prompt(f"{words[i]} b"), chosen=f"{words[i]} c d", rejected=f"e {words[-i - 1]}", id=f"pair {i}")
        for i in range(8)
    ]


def plain_logp(policy: Policy, pair: Pair, response: str) -> float:
    """The response's log-probability by the model's own forward pass, one sequence at a time."""
    row = policy.row(pair.prompt, [response])
    ids = torch.tensor([[*row.prompt, *row.responses[0]]])
    with torch.no_grad():
        logp = policy.model(ids).logits[0].double().log_softmax(-1)
    return sum(float(logp[len(row.prompt) - 1 + t, token]) for t, token in enumerate(row.responses[0]))


@pytest.mark.shows("preference-accuracy", "numeric")
def test_accuracy_equals_the_plain_forward_pass(start: Policy, moved: Policy) -> None:
    expected, change = [], []
    for pair in pairs():
        ratios = [plain_logp(moved, pair, r) - plain_logp(start, pair, r) for r in (pair.chosen, pair.rejected)]
        expected.append(float(ratios[0] > ratios[1]))
        change.append(ratios[0])
    found = {one.name: one for one in preference_accuracy(moved, start, Feedback(pairs()), token_budget=20)}
    assert list(found["preference_accuracy"].values) == expected
    assert 0 < sum(expected) < 8  # a policy at random must be right and wrong, or the test could not fail
    assert found["likelihood.chosen"].values == pytest.approx(change, abs=1e-5)


def test_the_start_against_itself_is_a_coin(start: Policy) -> None:
    first = preference_accuracy(start, start, Feedback(pairs()))[0]
    assert set(first.values) == {0.5}


def test_ties_are_left_out_and_counted(start: Policy, moved: Policy) -> None:
    tie = Pair(prompt=prompt("a"), chosen="b", rejected="c", tie=True)
    first = preference_accuracy(moved, start, Feedback([*pairs(), tie]))[0]
    assert (first.n, first.detail["ties_left_out"]) == (8, 1)
    with pytest.raises(FeedbackError, match="no pair to measure"):
        preference_accuracy(moved, start, Feedback([tie]))


def test_what_is_no_pair_is_refused(start: Policy) -> None:
    shown = Feedback([Demonstration(prompt=prompt("a"), response="b")], source="file.jsonl")
    with pytest.raises(FeedbackError, match=r"file\.jsonl: .*demonstration feedback"):
        preference_accuracy(start, start, shown)


def test_over_long_pairs_name_their_record(start: Policy) -> None:
    long = Pair(prompt=prompt("a"), chosen="b " * 90, rejected="c", id="line 7")
    with pytest.raises(ModelError, match="line 7"):
        preference_accuracy(start, start, Feedback([long]))


def test_batches_do_not_change_scores(start: Policy) -> None:
    rows = [start.row(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs()]
    together, apart = token_logps(start, rows, 10_000), token_logps(start, rows, 1)
    for one, other in zip(itertools.chain(*together), itertools.chain(*apart), strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_scoring_leaves_the_mode_as_it_was(start: Policy) -> None:
    start.module.train()
    token_logps(start, [start.row(prompt("a"), ["b"])])
    assert start.model.training
    start.module.eval()


def test_without_a_reference_the_policy_needs_adapters(start: Policy) -> None:
    with pytest.raises(ModelError, match="LoRA"):
        with_reference(start, None, [start.row(prompt("a"), ["b"])])


def exact_kl(policy: Policy, start: Policy, asked: Prompt, steps: int) -> float:
    """KL of responses of up to `steps` tokens, by enumeration."""
    prefix = policy.tokens.prompt(asked)
    stop = policy.tokens.stop(asked)

    def below(said: list[int], left: int) -> float:
        ids = torch.tensor([[*prefix, *said]])
        with torch.no_grad():
            own, other = (p.model(ids).logits[0, -1].double().log_softmax(-1) for p in (policy, start))
        here = float((own.exp() * (own - other)).sum())
        if left == 1:
            return here
        return here + sum(math.exp(own[t]) * below([*said, t], left - 1) for t in range(len(own)) if t != stop)

    return below([], steps)


@pytest.mark.shows("kl-from-start", "numeric")
def test_kl_estimates_hold_the_enumerated_value(start: Policy, moved: Policy) -> None:
    asked = [(f"{i}", prompt("a b")) for i in range(4000)]
    truth = exact_kl(moved, start, asked[0][1], 3)
    k3, k1 = kl_from_start(moved, start, asked, max_new_tokens=3, seed=2)
    assert truth > 0.02
    for estimate in (k3, k1):
        assert estimate.interval is not None
        assert estimate.interval[0] <= truth <= estimate.interval[1]
    assert min(k3.values) >= 0
    assert k3.interval[1] - k3.interval[0] < k1.interval[1] - k1.interval[0]  # type: ignore[index]


def test_kl_of_the_start_is_zero(start: Policy) -> None:
    k3, k1 = kl_from_start(start, start, [("a", prompt("a")), ("b", prompt("b"))], n=3, max_new_tokens=4)
    assert set(k3.values) == set(k1.values) == {0.0}
    assert k3.clusters == ("a", "a", "a", "b", "b", "b")


def test_answers_are_seeded_and_grouped_by_prompt(start: Policy) -> None:
    asked = [("x", prompt("a")), ("y", prompt("b"))]
    first = ask(start, asked, n=2, max_new_tokens=5, seed=3)
    assert first == ask(start, asked, n=2, max_new_tokens=5, seed=3)
    assert [answer.id for answer in first] == ["x", "x", "y", "y"]
    assert all(1 <= answer.tokens <= 5 for answer in first)
    assert first != ask(start, asked, n=2, max_new_tokens=5, seed=4)


def test_evaluations_are_in_the_catalogue() -> None:
    names = {entry.name for entry in entries("evaluation")}
    assert {"preference-accuracy", "hamlet-gold", "win-rate", "response-length", "kl-from-start"} <= names

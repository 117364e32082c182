"""Sampling: the distribution, seeds, independence of the batch, leaving rows, budgets."""

from __future__ import annotations

import pytest
import torch
from tiny_models import build_model, build_tokenizer

from trueup.errors import ModelError
from trueup.feedback.records import Prompt
from trueup.policies import Policy, Sample, sampling
from trueup.policies.packing import Row, pack
from trueup.policies.sampling import Rule

WORDS = "the miller carries flour to the baker before the sun is up"
PROMPTS: list[Prompt] = [[{"role": "user", "content": WORDS[: 9 + 4 * (i % 9)]}] for i in range(12)]


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(build_model("llama"), build_tokenizer())


@pytest.fixture(scope="module")
def stopping() -> Policy:
    """Ends about one response in four at each token."""
    model = build_model("phi")
    with torch.no_grad():
        model.lm_head.weight.mul_(0.1)
        model.lm_head.bias[2] = 5.0
    return Policy(model, build_tokenizer())


def tokens(groups: list[list[Sample]]) -> list[list[tuple[int, ...]]]:
    return [[sample.tokens for sample in group] for group in groups]


def test_a_sample_does_not_depend_on_the_batch(stopping: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = tokens(stopping.sample(PROMPTS, n=4, max_new_tokens=12, seed=5))
    assert len({sample for group in wanted for sample in group}) > 20
    assert tokens(stopping.sample(PROMPTS[3:5], n=4, max_new_tokens=12, seed=5)) == wanted[3:5]
    assert tokens(stopping.sample(PROMPTS, n=2, max_new_tokens=12, seed=5)) == [group[:2] for group in wanted]
    for leaving in (0.1, 1.0):
        monkeypatch.setattr(sampling, "LEAVING", leaving)
        assert tokens(stopping.sample(PROMPTS, n=4, max_new_tokens=12, seed=5)) == wanted
    for budget in (1, 40_000, 200_000):
        monkeypatch.setattr(sampling, "BATCH_BYTES", budget)
        assert tokens(stopping.sample(PROMPTS, n=4, max_new_tokens=12, seed=5)) == wanted


def test_seeds_and_repeated_prompts(policy: Policy) -> None:
    first = tokens(policy.sample(PROMPTS[:2], max_new_tokens=6, seed=1))
    assert first == tokens(policy.sample(PROMPTS[:2], max_new_tokens=6, seed=1))
    assert first != tokens(policy.sample(PROMPTS[:2], max_new_tokens=6, seed=2))
    twice = tokens(policy.sample([PROMPTS[0], PROMPTS[0], PROMPTS[1]], max_new_tokens=6, seed=1))
    assert twice[0] == first[0]
    assert twice[1] != first[0]
    assert twice[2] == first[1]


def test_sampling_leaves_the_policy_as_it_was(policy: Policy) -> None:
    policy.module.train()
    state = torch.get_rng_state()
    before = policy.digest()
    policy.sample(PROMPTS[:2], max_new_tokens=3)
    assert policy.module.training
    assert torch.equal(state, torch.get_rng_state())
    assert policy.digest() == before


def test_responses_end_with_the_stop_token_or_at_the_limit(stopping: Policy) -> None:
    samples = [sample for group in stopping.sample(PROMPTS, n=8, max_new_tokens=5) for sample in group]
    assert 5 < sum(sample.finished for sample in samples) < len(samples) - 5
    for sample in samples:
        assert len(sample.logp) == len(sample.tokens) <= 5
        assert (sample.tokens[-1] == 2) == sample.finished
        assert 2 not in sample.tokens[:-1]
        assert sample.finished or len(sample.tokens) == 5
        assert "<eos>" not in sample.text


def test_log_probabilities_of_rows_that_outlive_others(stopping: Policy) -> None:
    samples = stopping.sample(PROMPTS, n=6, max_new_tokens=40, seed=3)
    rows = [Row(stopping.tokens.prompt(p), [s.tokens for s in g]) for p, g in zip(PROMPTS, samples, strict=True)]
    drawn = torch.tensor([logp for group in samples for s in group for logp in s.logp], dtype=torch.float64)
    torch.testing.assert_close(stopping.score(pack(rows)).logp, drawn, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["mistral_window", "gpt_oss", "mamba"])
def test_long_samples_of_models_that_remember_differently(name: str) -> None:
    policy = Policy(build_model(name), build_tokenizer())
    samples = policy.sample(PROMPTS[:3], n=2, max_new_tokens=45, seed=3)
    rows = [Row(policy.tokens.prompt(p), [s.tokens for s in g]) for p, g in zip(PROMPTS, samples, strict=False)]
    drawn = torch.tensor([logp for group in samples for s in group for logp in s.logp], dtype=torch.float64)
    torch.testing.assert_close(policy.score(pack(rows)).logp.double(), drawn, rtol=0, atol=5e-5)


@pytest.mark.parametrize(
    ("temperature", "top_p", "top_k"), [(1.0, 1.0, 0), (0.5, 1.0, 0), (1.0, 0.7, 0), (1.0, 1.0, 3), (2.0, 0.8, 5)]
)
def test_the_distribution_sampled_from(temperature: float, top_p: float, top_k: int) -> None:
    """Frequencies against the definition of temperature, top-k and top-p, on seven tokens."""
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -0.5, -1.0, -3.0], dtype=torch.float64)
    weights = (logits / temperature).softmax(-1)
    if top_k:
        weights[top_k:] = 0
        weights = weights / weights.sum()
    held = 0.0
    for i, weight in enumerate(weights.tolist()):
        weights[i] = 0 if held >= top_p else weight
        held += weight
    weights = weights / weights.sum()
    rule = Rule(1, temperature, top_p, top_k, 0)
    torch.testing.assert_close(rule.log_probs(logits[None])[0].exp(), weights)
    grid = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    drawn, logp = rule.draw(logits.expand(20_000, -1), grid)
    torch.testing.assert_close(torch.bincount(drawn, minlength=7).double() / 20_000, weights, rtol=0, atol=1e-4)
    torch.testing.assert_close(logp, weights.log()[drawn])


def test_the_ends_of_the_unit_interval() -> None:
    rule = Rule(1, 1.0, 1.0, 2, 0)
    logits = torch.tensor([[-1.0, 3.0, 2.0, -5.0]]).expand(2, -1)
    assert rule.draw(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))[0].tolist() == [1, 2]


def test_temperature_zero_is_certain(policy: Policy) -> None:
    one, two = policy.sample(PROMPTS[:1], n=2, temperature=0, max_new_tokens=5)[0]
    assert one == two
    assert one.logp == (0.0,) * 5


def test_a_response_stops_where_the_context_does(policy: Policy) -> None:
    long: Prompt = [{"role": "user", "content": "Z" * 225}]
    room = policy.context_length - len(policy.tokens.prompt(long))
    assert 0 < room < 30
    (sample,), (other,) = policy.sample([long, PROMPTS[0]], max_new_tokens=30)
    assert len(sample.tokens) == room
    assert len(other.tokens) == 30
    opt = Policy(build_model("opt"), build_tokenizer())
    assert len(opt.sample([long, PROMPTS[0]], max_new_tokens=30)[0][0].tokens) == room


def test_settings_out_of_range(policy: Policy) -> None:
    for settings in ({"max_new_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}, {"top_k": -1}, {"n": 0}):
        with pytest.raises(ValueError, match=f"^{next(iter(settings))} is .*"):
            policy.sample(PROMPTS[:1], **settings)
    assert policy.sample([]) == []
    with pytest.raises(ModelError, match=r"prompt 1: its .* leave no room"):
        policy.sample([PROMPTS[0], [{"role": "user", "content": "Z" * 400}]])

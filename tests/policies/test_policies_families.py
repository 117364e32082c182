"""Every family: what trueup computes is what the model computes."""

from __future__ import annotations

import logging

import pytest
import torch
from tiny_models import SHARING, SINGLE, build_model, build_tokenizer, configurations, plain_logp, twin

from trueup.feedback.records import Prompt
from trueup.policies import Policy
from trueup.policies.packing import Row, pack

FAMILIES = list(configurations())
PROMPTS: list[Prompt] = [
    [{"role": "user", "content": text}] for text in ("Who?", "why is the river cold", "a b c d e f g h i j k l m n o p")
]


def tolerance(name: str) -> float:
    # Some models round to float32 inside (written-out softmax, recurrences), whatever the dtype.
    return 1e-5 if name in SINGLE else 5e-6 if name in ("gemma2", "mamba", "bloom") else 1e-9


def random_rows() -> list[Row]:
    generator = torch.Generator().manual_seed(1)

    def tokens(n: int) -> list[int]:
        return torch.randint(0, 384, (n,), generator=generator).tolist()

    shapes = ((5, (3, 4)), (30, (20, 11, 1)), (1, (1,)), (12, (9, 8)), (7, (2, 30)))
    return [Row(tokens(prompt), [tokens(n) for n in lengths]) for prompt, lengths in shapes]


@pytest.mark.parametrize("name", FAMILIES)
def test_score_equals_the_models_own_log_softmax(name: str) -> None:
    model = build_model(name)
    own = twin(model)
    policy = Policy(model, build_tokenizer(), name)
    assert policy.shared == (name in SHARING)
    assert not policy.module.own_head
    rows = random_rows()
    found = policy.score(pack(rows))
    wanted = torch.cat([plain_logp(own, list(row.prompt), list(r)) for row in rows for r in row.responses])
    assert found.logp.dtype == (torch.float32 if name in SINGLE else torch.float64)
    torch.testing.assert_close(found.logp, wanted.to(found.logp.dtype), rtol=0, atol=tolerance(name))


@pytest.mark.parametrize("name", ["llama", "gemma2", "mistral_window", "gpt_oss", "gpt2", "mamba"])
def test_gradients_equal_those_of_separate_rows(name: str) -> None:
    model = build_model(name)
    own = twin(model)
    policy = Policy(model, build_tokenizer(), name)
    rows = random_rows()
    policy.score(pack(rows)).mean().sin().sum().backward()
    sums = [plain_logp(own, list(row.prompt), list(r)).mean() for row in rows for r in row.responses]
    torch.stack(sums).sin().sum().backward()
    wanted = {parameter: value.grad for parameter, value in own.named_parameters()}
    scale = max(float(gradient.abs().max()) for gradient in wanted.values() if gradient is not None)
    for parameter, value in model.named_parameters():
        if wanted[parameter] is None:
            assert value.grad is None
            continue
        assert value.grad is not None, parameter
        torch.testing.assert_close(
            value.grad, wanted[parameter], rtol=0, atol=scale * (1e-5 if name in SINGLE else 1e-6)
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_greedy_sampling_equals_generate(name: str) -> None:
    model = build_model(name)
    own = twin(model)
    policy = Policy(model, build_tokenizer(), name)
    for prompt, (sample,) in zip(PROMPTS, policy.sample(PROMPTS, temperature=0, max_new_tokens=12), strict=True):
        ids = policy.tokens.prompt(prompt)
        wanted = own.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False, pad_token_id=0)[0, len(ids) :]
        assert list(sample.tokens) == wanted.tolist()


@pytest.mark.parametrize("name", FAMILIES)
def test_sampled_log_probabilities_equal_scored_ones(name: str) -> None:
    policy = Policy(build_model(name), build_tokenizer(), name)
    samples = policy.sample(PROMPTS, n=3, max_new_tokens=12, seed=4)
    rows = [Row(policy.tokens.prompt(p), [s.tokens for s in group]) for p, group in zip(PROMPTS, samples, strict=True)]
    drawn = torch.tensor([logp for group in samples for s in group for logp in s.logp], dtype=torch.float64)
    torch.testing.assert_close(policy.score(pack(rows)).logp.double(), drawn, rtol=0, atol=2e-5)


def test_a_recurrent_model_falls_back_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "trueup"):
        policy = Policy(build_model("mamba"), build_tokenizer(), "m")
    assert not policy.shared
    (line,) = [record.getMessage() for record in caplog.records if record.name == "trueup"]
    assert line == (
        "m: each response is run with its own copy of the prompt: it has layers of another kind (linear_attention)."
    )

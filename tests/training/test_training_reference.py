"""The reference: exact, cached, and without a trace in the rest of the run."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import make_demonstrations, make_pairs, make_policy, same_bits, settings, weights, with_adapters

from trueup.errors import TrainingError
from trueup.objectives import DPO, SFT
from trueup.policies import Policy
from trueup.training import History, Offline, Trainer
from trueup.training.files import cache_folder
from trueup.training.progress import Quiet
from trueup.training.reference import OnlineReference


def train(policy: Policy | None = None, **changes: Any) -> tuple[History, dict[str, torch.Tensor]]:
    reference = changes.pop("reference", "start")
    policy = policy or make_policy()
    chosen = settings(**{"epochs": 2, "batch_size": 8, **changes})
    trainer = Trainer(policy, DPO(), Offline(make_pairs()), settings=chosen, reference=reference, progress=Quiet())
    return trainer.run(), weights(policy)


def files() -> list[Path]:
    return sorted((cache_folder() / "reference").glob("*"))


def numbers(history: History, name: str) -> torch.Tensor:
    return torch.tensor(history.column(name), dtype=torch.float64)


def test_cached_and_online_give_the_same_run() -> None:
    cached, _ = train()
    online, _ = train(reference_mode="online")
    assert (cached.facts["reference_from_cache"], online.facts["reference_from_cache"]) == (False, None)
    for name in ("loss", "reward_margin", "grad_norm"):
        torch.testing.assert_close(numbers(cached, name), numbers(online, name), atol=1e-5, rtol=1e-5)


def test_the_cache_is_found_again_and_gives_the_same_bits() -> None:
    (first, trained), (second, again) = train(), train()
    assert (first.facts["reference_from_cache"], second.facts["reference_from_cache"]) == (False, True)
    assert same_bits(trained, again)
    assert len(files()) == 1


@pytest.mark.parametrize("change", ["model", "data", "precision"])
def test_another_model_data_or_precision_has_a_cache_of_its_own(change: str) -> None:
    train()
    policy = make_policy(seed=1) if change == "model" else make_policy()
    data = make_pairs(seed=1 if change == "data" else 0)
    chosen = settings(steps=1, precision="bfloat16" if change == "precision" else "float32")
    history = Trainer(policy, DPO(), Offline(data), settings=chosen, progress=Quiet()).run()
    assert history.facts["reference_from_cache"] is False
    assert len(files()) == 2


def test_a_damaged_cache_is_scored_anew() -> None:
    _, trained = train()
    files()[0].write_bytes(files()[0].read_bytes()[:50])
    history, again = train()
    assert history.facts["reference_from_cache"] is False
    assert same_bits(trained, again)


def test_the_cache_changes_neither_the_order_of_the_data_nor_the_random_state() -> None:
    """Adapters with dropout draw random numbers in each step; scoring the reference first must not move them."""
    orders = []
    for mode in ("cached", "cached", "online"):
        policy = with_adapters(make_policy(), dropout=0.3)
        torch.manual_seed(11)
        before = torch.random.get_rng_state()
        history, _ = train(policy, reference_mode=mode, learning_rate=1e-2)
        assert torch.equal(torch.random.get_rng_state(), before)
        orders.append(history)
    assert orders[0].column("tokens") == orders[1].column("tokens") == orders[2].column("tokens")
    assert orders[0].column("loss") == orders[1].column("loss")
    torch.testing.assert_close(numbers(orders[0], "loss"), numbers(orders[2], "loss"), atol=1e-5, rtol=0)


def test_with_adapters_the_reference_is_the_model_without_them() -> None:
    """Adapters off equals a separate frozen copy of the base, cached and online."""
    separate = make_policy()
    runs = [
        train(with_adapters(make_policy()), learning_rate=1e-2, reference_mode=mode, reference=reference)[0]
        for mode, reference in (("cached", "start"), ("online", "start"), ("online", separate), ("cached", separate))
    ]
    assert runs[0].steps[-1]["loss"] < runs[0].steps[0]["loss"] - 0.001
    for other in runs[1:]:
        torch.testing.assert_close(numbers(runs[0], "loss"), numbers(other, "loss"), atol=1e-6, rtol=0)


def test_only_adapters_are_trained_and_saved(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    policy = with_adapters(make_policy())
    base = {name: p.detach().clone() for name, p in policy.model.named_parameters() if "lora" not in name}
    changes = settings(steps=3, learning_rate=1e-2)
    Trainer(policy, DPO(), Offline(make_pairs()), settings=changes, folder=tmp_path, progress=Quiet()).run()
    assert all(torch.equal(p, base[name]) for name, p in policy.model.named_parameters() if name in base)
    saved = load_file(tmp_path / "checkpoints" / "step-0000003" / "weights.safetensors")
    assert saved.keys() == {name for name, p in policy.model.named_parameters() if "lora" in name}


def test_adapters_that_moved_already_are_not_their_own_reference() -> None:
    policy = with_adapters(make_policy())
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(0.5)
    with pytest.raises(TrainingError, match=r"KL\(policy, reference\) is zero: no.*merged first"):
        train(policy)


def test_a_fresh_adapter_continues_in_the_folder_although_its_random_factor_differs(tmp_path: Path) -> None:
    """Each process draws its own; the checkpoint brings the one the run began with."""
    results = []
    for seed in (1, 2):
        policy = with_adapters(make_policy())
        torch.manual_seed(seed)
        with torch.no_grad():
            for name, parameter in policy.model.named_parameters():
                if "lora_A" in name:
                    parameter.normal_()
        call = {"settings": settings(steps=3), "folder": tmp_path, "progress": Quiet()}
        Trainer(policy, DPO(), Offline(make_pairs()), **call).run()
        results.append(weights(policy))
    assert same_bits(*results)


def test_another_policy_as_reference() -> None:
    other = make_policy(seed=4)
    history, _ = train(reference=other)
    assert abs(history.steps[0]["chosen_logratio"]) > 0.1
    assert other.digest() == make_policy(seed=4).digest()


def test_an_objective_that_reads_none_scores_none() -> None:
    trainer = Trainer(make_policy(), SFT(), Offline(make_demonstrations()), settings=settings(steps=1))
    assert trainer.run().facts["reference_from_cache"] is None
    assert not files()


def test_a_missing_reference_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r'DPO reads a reference\. Give reference="start"'):
        train(reference=None)


def test_a_reference_that_cannot_be_cached_is_no_reason_to_stop(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    history, _ = train()
    assert len(history.steps) == 6


def test_the_start_is_a_frozen_copy() -> None:
    policy = make_policy()
    frozen = OnlineReference.at_start(policy, nullcontext, frozen=True)
    before = frozen.policy.digest()
    train(policy, learning_rate=1e-2)
    assert frozen.policy.digest() == before != policy.digest()
    assert not any(p.requires_grad for p in frozen.policy.model.parameters())

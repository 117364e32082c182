from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from tiny_training import make_demonstrations, same_bits, tokenizer, weights
from transformers import LlamaConfig

from trueup.errors import FeedbackError, ModelError, RecipeError, TrainingError
from trueup.feedback import Demonstration
from trueup.policies import Policy
from trueup.policies.blueprint import Blueprint
from trueup.training import scratch
from trueup.training.progress import Quiet

SETTINGS = {"steps": 4, "batch_size": 8, "learning_rate": 1e-2, "precision": "float32"}


def blueprint(settings: dict | None = None, **changes: Any) -> Blueprint:
    config = LlamaConfig(
        vocab_size=259, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=192, bos_token_id=0, eos_token_id=1, pad_token_id=2,
    )  # fmt: skip
    given: dict[str, Any] = {
        "name": "village",
        "key": {"version": 1},
        "config": config,
        "tokenizer": tokenizer,
        "demonstrations": lambda: list(make_demonstrations()),
        "settings": {**SETTINGS, **(settings or {})},
    }
    return Blueprint(**{**given, **changes})


def test_a_model_is_trained_once_and_loaded_from_then_on(cache: Path) -> None:
    plan = blueprint()
    first = scratch.build(plan, progress=Quiet())
    began = time.perf_counter()
    second = scratch.build(plan, progress=Quiet())
    assert time.perf_counter() - began < 1
    assert same_bits(weights(first), weights(second))
    assert second.name == "village"
    (folder,) = (path for path in (cache / "models").iterdir() if path.is_dir())
    assert Policy.load(folder).digest() == second.digest()


def test_it_is_the_same_in_another_cache_bit_for_bit(tmp_path: Path) -> None:
    models = [scratch.build(blueprint(), cache=tmp_path / name, progress=Quiet()) for name in ("a", "b")]
    assert same_bits(*map(weights, models))


@pytest.mark.parametrize("change", [{"key": {"version": 2}}, {"settings": {"seed": 1}}], ids=["key", "settings"])
def test_another_blueprint_is_another_model(change: dict, cache: Path) -> None:
    first = scratch.build(blueprint(), progress=Quiet())
    other = scratch.build(blueprint(**change), progress=Quiet())
    assert len([path for path in (cache / "models").iterdir() if path.is_dir()]) == 2
    assert (first.digest() == other.digest()) == ("key" in change)


def test_a_build_that_stopped_goes_on_where_it_was(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scratch.build(blueprint(), cache=cache / "elsewhere", progress=Quiet())
    real = scratch.Policy.save

    def full(self: Policy, folder: Path) -> None:
        folder.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scratch.Policy, "save", full)
    with pytest.raises(TrainingError, match="the disk is full; the training is kept in"):
        scratch.build(blueprint(), progress=Quiet())
    assert [path.suffix for path in (cache / "models").iterdir() if path.is_dir()] == [".partial"]
    monkeypatch.setattr(scratch.Policy, "save", real)
    assert same_bits(weights(scratch.build(blueprint(), progress=Quiet())), weights(whole))
    assert not list((cache / "models").glob("*.partial"))


def test_wrong_settings_and_records_are_named() -> None:
    with pytest.raises(RecipeError, match="blueprint village: lerning_rate: unknown key; did you mean learning_rate"):
        scratch.build(blueprint({"lerning_rate": 1}), progress=Quiet())
    empty = blueprint(demonstrations=lambda: [Demonstration(prompt=[], response=" ", id="blank")])
    with pytest.raises(FeedbackError, match=r"blueprint village: .*blank"):
        scratch.build(empty, progress=Quiet())


def test_byte_bpe_reads_and_writes_any_text() -> None:
    texts = ["the bell rings in the rain", "tea for the miller"] * 5
    made = scratch.byte_bpe(texts, 280)
    assert len(made) == 280
    assert (made.bos_token_id, made.eos_token_id, made.pad_token_id) == (0, 1, 2)
    for text in ["the bell", "naïve 茶 🫖\n\n  x"]:
        assert made.decode(made(text)["input_ids"]) == text
    assert len(made("the bell rings")["input_ids"]) < len("the bell rings") / 1.5


def test_a_policy_reads_dialogue_with_a_byte_bpe_tokenizer() -> None:
    policy = scratch.build(blueprint(tokenizer=lambda: scratch.byte_bpe(["tea"], 259)), progress=Quiet())
    row = policy.row([{"role": "user", "content": "Tea?"}], ["Yes."])
    assert row.prompt[0] == 0
    assert row.responses[0][-1] == 1


def test_a_vocabulary_without_room_or_too_large_is_refused() -> None:
    with pytest.raises(ModelError, match="at least 259 tokens, not 100"):
        scratch.byte_bpe(["x"], 100)
    with pytest.raises(ModelError, match=r"give a vocabulary of .* not 5000"):
        scratch.byte_bpe(["short text"], 5000)

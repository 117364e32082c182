"""Models from disk: what loads, and one clear error for each thing amiss."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_models import CHATML, build_model, build_tokenizer
from transformers import PreTrainedTokenizerFast

from trueup.errors import ModelError
from trueup.policies import Lora, Policy
from trueup.policies.packing import pack


@pytest.fixture
def folder(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    Policy(build_model("llama", torch.float32), tokenizer).save(tmp_path / "model")
    return tmp_path / "model"


def score(policy: Policy) -> torch.Tensor:
    return policy.score(pack([policy.row([{"role": "user", "content": "Who?"}], ["The miller.", "Nobody."])])).sum()


def unsettle(policy: Policy) -> None:
    """Moves the adapters away from their start, where they change nothing."""
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))


def test_a_saved_policy_loads_as_it_was(folder: Path) -> None:
    policy, again = Policy.load(folder), Policy.load(folder)
    again.save(folder.parent / "again")
    third = Policy.load(str(folder.parent / "again"))
    assert policy.digest() == third.digest()
    torch.testing.assert_close(score(policy), score(third), rtol=0, atol=0)
    assert "trueup" not in (folder / "config.json").read_text()
    assert not list(folder.glob("*.bin"))


def test_the_chat_template_is_saved_too(tmp_path: Path) -> None:
    Policy(build_model("llama"), build_tokenizer(CHATML)).save(tmp_path)
    assert Policy.load(tmp_path).tokenizer.chat_template == CHATML


def test_digest_tells_weights_apart(folder: Path) -> None:
    policy = Policy.load(folder)
    before = policy.digest()
    with torch.no_grad():
        next(policy.model.parameters())[3, 3] += 1e-3
    assert policy.digest() != before


@pytest.mark.parametrize(("dtype", "wanted"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_dtype(folder: Path, dtype: str, wanted: torch.dtype) -> None:
    policy = Policy.load(folder, dtype=dtype)
    assert {parameter.dtype for parameter in policy.model.parameters()} == {wanted}
    assert policy.shared
    assert score(policy).dtype == torch.float32


def test_fresh_adapters_change_nothing_and_reference_takes_them_off(folder: Path) -> None:
    plain, policy = Policy.load(folder), Policy.load(folder, lora=Lora(rank=4))
    torch.testing.assert_close(score(policy), score(plain))
    trained = [name for name, parameter in policy.model.named_parameters() if parameter.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)
    unsettle(policy)
    assert (score(policy) - score(plain)).abs().max() > 0.1
    with policy.reference():
        torch.testing.assert_close(score(policy), score(plain))
    assert (score(policy) - score(plain)).abs().max() > 0.1


def test_dropout_of_adapters_stays(folder: Path) -> None:
    policy = Policy.load(folder, lora=Lora(rank=4, dropout=0.5))
    unsettle(policy)
    torch.testing.assert_close(score(policy), score(policy), rtol=0, atol=0)
    policy.module.train()
    assert (score(policy) - score(policy)).abs().max() > 0.01


def test_reference_needs_adapters(folder: Path) -> None:
    with pytest.raises(ModelError, match="no LoRA adapters"), Policy.load(folder).reference():
        pass


def test_saved_adapters_load_again_on_their_base(folder: Path, tmp_path: Path) -> None:
    policy = Policy.load(folder, lora=Lora(rank=4))
    unsettle(policy)
    policy.save(tmp_path / "adapted")
    again = Policy.load(tmp_path / "adapted")
    assert again.digest() == policy.digest()
    torch.testing.assert_close(score(again), score(policy))
    assert any(parameter.requires_grad for parameter in again.model.parameters())
    for path in (tmp_path / "adapted").glob("tokenizer*"):
        path.unlink()
    assert Policy.load(tmp_path / "adapted").tokenizer.get_vocab() == policy.tokenizer.get_vocab()
    with pytest.raises(ModelError, match="already has LoRA adapters"):
        Policy.load(tmp_path / "adapted", lora=Lora())
    shutil.rmtree(folder)
    with pytest.raises(ModelError, match=r"base model .* is not there"):
        Policy.load(tmp_path / "adapted")


def test_adapters_on_a_model_that_was_never_saved_bring_it_along(tmp_path: Path) -> None:
    from trueup.policies.loading import add_adapters

    policy = Policy(add_adapters(build_model("llama", torch.float32), Lora(rank=2)), build_tokenizer())
    unsettle(policy)
    policy.save(tmp_path / "first")
    (tmp_path / "first").rename(tmp_path / "moved")
    again = Policy.load(tmp_path / "moved")
    assert again.digest() == policy.digest()
    again.save(tmp_path / "second")
    shutil.rmtree(tmp_path / "moved")
    assert Policy.load(tmp_path / "second").digest() == policy.digest()


def test_lora_targets_that_are_not_there(folder: Path) -> None:
    with pytest.raises(ModelError, match="LoRA adapters cannot be added"):
        Policy.load(folder, lora=Lora(targets=("no_such_layer",)))


def spoil(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    if how == "no config":
        (folder / "config.json").unlink()
    elif how == "broken config":
        (folder / "config.json").write_text("{")
    elif how == "unknown architecture":
        (folder / "config.json").write_text(json.dumps({"model_type": "nonesuch"}))
    elif how == "no weights":
        weights.unlink()
    elif how == "pickled":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif how == "not safetensors":
        weights.write_bytes(b"hello")
    elif how == "incomplete":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3, "layer_types": None}))
    elif how == "other shape":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    elif how == "small embedding":
        shutil.rmtree(folder)
        model = build_model("llama", torch.float32)
        model.resize_token_embeddings(100)
        model.save_pretrained(folder)
        build_tokenizer().save_pretrained(folder)
    elif how == "no tokenizer":
        for path in folder.glob("tokenizer*"):
            path.unlink()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no config", "has no config.json"),
        ("broken config", "cannot be loaded"),
        ("unknown architecture", "cannot be loaded"),
        ("no weights", "has no weights"),
        ("pickled", r"pickled \(pytorch_model.bin\).*Convert them to safetensors"),
        ("truncated", "cannot be loaded"),
        ("not safetensors", "cannot be loaded"),
        ("incomplete", "the weights lack model.layers.2"),
        ("other shape", "cannot be loaded"),
        ("small embedding", "token ids up to 383 and the model's embedding 100 rows"),
        ("no tokenizer", "tokenizer cannot be loaded"),
    ],
)
def test_a_folder_that_cannot_be_used(folder: Path, how: str, says: str) -> None:
    spoil(folder, how)
    with pytest.raises(ModelError, match=says) as caught:
        Policy.load(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_places_that_are_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        Policy.load(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="a file, not a model folder"):
        Policy.load(tmp_path / "file")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"nobody/nothing: .*check it and the connection"):
        Policy.load("nobody/nothing")


def test_code_in_a_model_folder_is_not_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil", "auto_map": auto}))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Config: pass\nclass Model: pass\n")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Policy.load(folder)
    assert not (folder / "ran").exists()


def test_unknown_dtype(folder: Path) -> None:
    with pytest.raises(ModelError, match="dtype 'int8' is not known"):
        Policy.load(folder, dtype="int8")


def test_a_revision_of_a_folder(folder: Path) -> None:
    with pytest.raises(ModelError, match="no revision 'main'"):
        Policy.load(folder, revision="main")


def test_a_place_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(ModelError, match="cannot be written"):
        Policy.load(folder).save(tmp_path / "taken")

"""Every bad input ends with exit code 2 and one paragraph that names what, where and what to do; nothing is written."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from trueup.cli.main import main
from trueup.training import scratch

PAIR = {"prompt": "who is at the mill?", "chosen": "the miller is.", "rejected": "a goat."}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that reads 64 tokens."""
    folder = tmp_path_factory.mktemp("model")
    texts = ["who is at the mill? the miller is. a goat."] * 50
    tokenizer = scratch.byte_bpe(texts, 270)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=270, max_position_embeddings=64, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the command line and holds it to the contract for bad input."""
    monkeypatch.setenv("TRUEUP_CACHE", str(tmp_path / "cache"))

    def run(*arguments: str | Path, words: tuple[str, ...]) -> None:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        monkeypatch.setattr(sys, "argv", ["trueup", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr().err
        assert ended.value.code == 2, told
        paragraph = told[told.index("trueup: ") :].strip()
        assert "\n\n" not in paragraph
        assert "Traceback" not in told
        for word in words:
            assert word in paragraph
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before, "something was written"

    return run


def lines(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def missing(folder: Path) -> Path:
    return folder / "nowhere.jsonl"


def empty(folder: Path) -> Path:
    return lines(folder / "empty.jsonl")


def directory(folder: Path) -> Path:
    (folder / "folder").mkdir()
    return folder / "folder"


def truncated(folder: Path) -> Path:
    path = folder / "cut.jsonl.gz"
    path.write_bytes(gzip.compress((json.dumps(PAIR) + "\n").encode() * 500)[:60])
    return path


def broken(folder: Path) -> Path:
    path = lines(folder / "broken.jsonl", PAIR)
    path.write_text(path.read_text() + '{"prompt": "who')
    return path


def without_chosen(folder: Path) -> Path:
    return lines(folder / "lacks.jsonl", PAIR, {"prompt": "who?", "rejected": "nobody."})


def equal(folder: Path) -> Path:
    return lines(folder / "equal.jsonl", PAIR, {**PAIR, "rejected": PAIR["chosen"]})


def empty_response(folder: Path) -> Path:
    return lines(folder / "silent.jsonl", PAIR, {**PAIR, "rejected": " "})


def over_long(folder: Path) -> Path:
    return lines(folder / "long.jsonl", PAIR, {**PAIR, "prompt": "who is at the mill? " * 40})


def labels(folder: Path) -> Path:
    return lines(folder / "labels.jsonl", {"prompt": "who?", "completion": "the miller.", "label": True})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, ("nowhere.jsonl", "no such file")),
        (empty, ("empty.jsonl", "empty")),
        (directory, ("folder",)),
        (truncated, ("cut.jsonl.gz", "gzip")),
        (broken, ("broken.jsonl:2",)),
        (without_chosen, ("lacks.jsonl:2", "chosen")),
        (equal, ("equal.jsonl:2", "chosen")),
        (empty_response, ("silent.jsonl:2", "empty")),
        (over_long, ("long.jsonl:2", "64")),
        (labels, ("labels.jsonl", "label", "pair")),
    ],
)
def test_bad_feedback(refused: Any, model: Path, tmp_path: Path, make: Any, words: tuple[str, ...]) -> None:
    feedback = make(tmp_path)
    out = tmp_path / "out"
    refused("train", "dpo", "--model", model, "--feedback", feedback, "--out", out, words=words)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def weightless(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def mismatched(folder: Path) -> None:
    scratch.byte_bpe([f"{i} {i + 1}" for i in range(999)], 400).save_pretrained(folder)


def markless(folder: Path) -> None:
    template = "{% for m in messages %}{{ m['content'] | upper }} {% endfor %}"
    (folder / "chat_template.jinja").write_text(template)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (weightless, ("no weights",)),
        (pickled, ("pickle", "safetensors")),
        (mismatched, ("tokenizer", "embedding", "270")),
        (markless, ("template", "assistant marks")),
        (shutil.rmtree, ("no such model folder",)),
    ],
)
def test_bad_models(refused: Any, model: Path, tmp_path: Path, spoil: Any, words: tuple[str, ...]) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    spoil(folder)
    feedback = lines(tmp_path / "pairs.jsonl", PAIR)
    refused("train", "dpo", "--model", folder, "--feedback", feedback, "--out", tmp_path / "out", words=words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "betta=1"], ("betta", "did you mean beta")),
        (["--set", "beta=high"], ("beta", "number")),
        (["--training", "epoch=1"], ("epoch", "did you mean epochs")),
        (["--training", "batch_size=many"], ("batch_size", "integer")),
        (["--training", "epochs=1", "--training", "steps=2"], ("epochs or steps",)),
    ],
)
def test_bad_settings(refused: Any, model: Path, tmp_path: Path, arguments: list[str], words: tuple[str, ...]) -> None:
    feedback = lines(tmp_path / "pairs.jsonl", PAIR)
    out = tmp_path / "out"
    refused("train", "dpo", "--model", model, "--feedback", feedback, "--out", out, *arguments, words=words)


def test_the_folder_of_another_training(refused: Any, model: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(json.dumps({"identity": {"objective": "other"}}))
    feedback = lines(tmp_path / "pairs.jsonl", PAIR)
    refused(
        "train",
        "dpo",
        "--model",
        model,
        "--feedback",
        feedback,
        "--out",
        tmp_path / "out",
        words=("another run", "out"),
    )

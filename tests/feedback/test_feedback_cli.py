"""`trueup feedback show | check | convert`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trueup import feedback
from trueup.cli.feedback import app
from trueup.errors import FeedbackError

ROWS = [{"prompt": f"question {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(3)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    return path


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})
    if code == 2:
        assert isinstance(result.exception, FeedbackError)
        return str(result.exception)
    assert result.exit_code == code, result.output
    return result.output


def test_show(file: Path):
    shown = run("show", file, "--n", 2)
    assert "3 pair records from" in shown
    assert "pairs.jsonl:2" in shown
    assert "good 1" in shown
    assert "good 2" not in shown
    data = json.loads(run("show", file, "--json", "--n", 1))
    assert (data["kind"], data["records"], len(data["first"])) == ("pair", 3, 1)
    assert data["digest"] == feedback.load(file).digest()
    assert run("show", file, "--kind", "label", code=2).count("--to label") == 1
    assert "records" in run("show", file, "--n", 0)


def test_data_are_printed_as_they_are_and_cannot_steer_the_terminal(tmp_path: Path):
    path = tmp_path / "evil.jsonl"
    row = {"prompt": "[red]x[/red] [/]", "response": "\x1b[2Jgone\x07 \u202eabc", "[bold]k": "[link=http://x]y"}
    path.write_text(json.dumps(row), encoding="utf-8")
    shown = run("show", path)
    assert "[red]x[/red] [/]" in shown
    assert "[link=http://x]y" in shown
    assert not set("\x1b\x07\u202e") & set(shown)
    assert "␛[2Jgone␇" in shown


def test_check_ends_with_1_when_records_are_bad(file: Path):
    assert "chosen equals rejected" in run("check", file)
    rows = [*ROWS, {**ROWS[0], "chosen": "bad 0"}, ROWS[0], {"prompt": "x", "rejected": "y"}, {**ROWS[1], "chosen": ""}]
    file.write_text("\n".join(map(json.dumps, rows)) + "\n{", encoding="utf-8")
    report = json.loads(run("check", file, "--json", code=1))
    assert (report["read"], report["kept"], report["bad"], report["ok"]) == (6, 4, 2, False)
    counts = {cause: finding["count"] for cause, finding in report["findings"].items()}
    assert counts == {"empty response": 1, "chosen equals rejected": 1, "duplicate": 1, "over-long": 0}
    assert report["findings"]["empty response"]["examples"] == ["pairs.jsonl:7"]
    table = run("check", file, code=1)
    assert "bad record: the record has no 'chosen'" in " ".join(table.split())
    assert "pairs.jsonl:6" in table
    assert max(map(len, table.splitlines())) <= 80 or str(file) in table


def test_check_counts_length_in_a_models_tokens(file: Path, tmp_path: Path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "<eos>": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", unk_token="<unk>")
    config = LlamaConfig(
        vocab_size=2,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=32,
        bos_token_id=None,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    assert run("check", file, "--model", tmp_path / "model")
    file.write_text(file.read_text() + "\n" + json.dumps({**ROWS[0], "chosen": "word " * 40}), encoding="utf-8")
    report = json.loads(run("check", file, "--model", tmp_path / "model", "--json", code=1))
    assert report["limit"] == "32 tokens"
    assert report["findings"]["over-long"] == {"count": 1, "examples": ["pairs.jsonl:4"], "fatal": True}


def test_convert(file: Path, tmp_path: Path):
    out = tmp_path / "labels.parquet"
    said = " ".join(run("convert", file, out, "--to", "label").split())
    assert "6 label records" in said
    assert "lost: the comparison: chosen counts as good" in said
    assert [label.label for label in feedback.load(out)] == [True, False] * 3
    run("convert", file, tmp_path / "same.jsonl")
    assert feedback.load(tmp_path / "same.jsonl") == feedback.load(file)
    assert "the output is the file that is read" in run("convert", file, file, "--to", "label", code=2)
    message = run("convert", out, tmp_path / "pairs.parquet", "--to", "pair", code=2)
    assert "a label cannot become a pair" in message
    assert not (tmp_path / "pairs.parquet").exists()
    assert "End the name in" in run("convert", file, tmp_path / "a.csv", code=2)


def test_convert_leaves_out_what_cannot_be_trained_on_when_asked_to(file: Path, tmp_path: Path):
    rows = [*ROWS, {**ROWS[0], "chosen": ""}, {"prompt": "x", "rejected": "y"}]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert "no 'chosen'" in run("convert", file, tmp_path / "a.jsonl", code=2)
    said = " ".join(run("convert", file, tmp_path / "a.jsonl", "--skip-bad").split())
    assert "3 pair records" in said
    assert "left out 1: bad record: the record has no 'chosen' (pairs.jsonl:5)" in said
    assert "left out 1: empty response (pairs.jsonl:4)" in said
    feedback.require_trainable(feedback.load(tmp_path / "a.jsonl"))


def test_bad_files_are_one_error(tmp_path: Path):
    assert "there is no such file" in run("show", tmp_path / "none.jsonl", code=2)
    assert "no data set" in run("check", tmp_path, code=2)


def test_help_has_an_example():
    for command in ("show", "check", "convert"):
        assert "Example: trueup feedback" in run(command, "--help")

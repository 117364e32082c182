"""Files that can and cannot be read; every refusal is one error that names the place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from trueup import feedback
from trueup.errors import FeedbackError
from trueup.feedback import Demonstration, Label, Pair, Scores

ROWS = [{"prompt": f"question {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(5)]
LINES = "\n".join(json.dumps(row) for row in ROWS)


def write(path: Path, content: str | bytes) -> Path:
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def refusal(path: Path | str, **options) -> str:
    with pytest.raises(FeedbackError) as caught:
        feedback.load(path, **options)
    message = str(caught.value)
    assert "\n" not in message, "one paragraph"
    return message


CSV = "prompt,chosen,rejected\n" + "\n".join(",".join(row.values()) for row in ROWS)
WAYS = {
    "a.jsonl": LINES,
    "a.jsonl.gz": LINES,
    "a.ndjson": LINES,
    "a.json": json.dumps(ROWS),
    "a.json.gz": json.dumps(ROWS),
    "data.json": json.dumps({"version": 1, "data": ROWS}),
    "lines.json": LINES,
    "bom.jsonl": "\ufeff" + LINES,
    "bom.csv": "\ufeff" + CSV,
    "blank.jsonl": "\n" + LINES.replace("\n", "\n\n") + "\n\n",
    "a.csv": CSV,
    "a.csv.gz": CSV,
    "a.tsv": CSV.replace(",", "\t"),
}


@pytest.mark.parametrize("name", WAYS)
def test_the_same_records_in_every_container(tmp_path: Path, name):
    found = feedback.load(write(tmp_path / name, WAYS[name]))
    assert found.kind is Pair
    assert [pair.chosen for pair in found] == [row["chosen"] for row in ROWS]
    assert found.digest() == feedback.load(write(tmp_path / "plain.jsonl", LINES)).digest()


def test_parquet_written_by_others_and_a_saved_dataset(tmp_path: Path):
    from datasets import Dataset, DatasetDict

    table = Dataset.from_list(ROWS)
    table.to_parquet(str(tmp_path / "a.parquet"))
    table.save_to_disk(str(tmp_path / "saved"))
    DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "splits"))
    expected = feedback.load(write(tmp_path / "plain.jsonl", LINES))
    for name in ("a.parquet", "saved", "splits/train"):
        assert feedback.load(tmp_path / name) == _renamed(expected, f"{Path(name).name}[{{}}]")
    message = refusal(tmp_path / "splits")
    assert "the splits test, train" in message
    assert str(tmp_path / "splits" / "test") in message


def _renamed(expected, pattern):
    from dataclasses import replace

    return feedback.Feedback([replace(record, id=pattern.format(i)) for i, record in enumerate(expected)])


def test_ids_are_places(tmp_path: Path):
    assert feedback.load(write(tmp_path / "a.jsonl", "\n" + LINES))[0].id == "a.jsonl:2"
    assert feedback.load(write(tmp_path / "a.json", json.dumps(ROWS)))[2].id == "a.json[2]"
    text = 'prompt,chosen,rejected\n"two\nlines",a,b\nc,d,e\n'
    assert [pair.id for pair in feedback.load(write(tmp_path / "a.csv", text))] == ["a.csv:2", "a.csv:4"]
    named = [{**ROWS[0], "id": 7}, {**ROWS[1], "id": "x"}]
    assert [pair.id for pair in feedback.load(write(tmp_path / "b.json", json.dumps(named)))] == ["7", "x"]


def test_a_folder_of_files_is_one_collection(tmp_path: Path):
    write(tmp_path / "part-1.jsonl", LINES)
    write(tmp_path / "part-2.jsonl.gz", LINES)
    write(tmp_path / "README.md", "not data")
    found = feedback.load(tmp_path)
    assert len(found) == 10
    assert found[5].id == "part-2.jsonl.gz:1"
    write(tmp_path / "part-3.jsonl", json.dumps({"prompt": "a", "response": "b"}))
    assert "different kinds: pair and demonstration" in refusal(tmp_path)


def test_missing_empty_and_wrong_files(tmp_path: Path):
    assert refusal(tmp_path / "none.jsonl").endswith("none.jsonl: there is no such file.")
    assert "the file is empty" in refusal(write(tmp_path / "empty.jsonl", ""))
    assert "no record is left (there are none)" in refusal(write(tmp_path / "blank.jsonl", "\n\n"))
    assert "no record is left" in refusal(write(tmp_path / "list.json", "[]"))
    assert "no record is left" in refusal(write(tmp_path / "header.csv", "prompt,chosen,rejected\n"))
    assert "neither a list of records nor an object" in refusal(write(tmp_path / "number.json", "3"))
    assert "the ending does not say" in refusal(write(tmp_path / "a.txt", LINES))
    (tmp_path / "folder").mkdir()
    assert "this folder is no data set" in refusal(tmp_path / "folder")
    assert "is not a whole Parquet file" in refusal(write(tmp_path / "a.parquet", "PAR1 and more"))


def test_broken_json_names_file_and_line(tmp_path: Path):
    lines = LINES.splitlines()
    lines[2] = lines[2][:-4]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert refusal(path).startswith("a.jsonl:3: broken JSON (")
    found = feedback.load(path, skip_bad=True)
    assert len(found) == 4
    ((cause, count),) = found.left_out.items()
    assert cause.startswith("bad record: broken JSON")
    assert count == 1
    assert found.left_out_at[cause] == ("a.jsonl:3",)
    assert refusal(write(tmp_path / "a.json", '[{"prompt": "a"},\n {"prompt" "b"}]')).startswith(
        f"{tmp_path}/a.json:2: "
    )


def test_truncated_gzip_is_an_error_even_when_bad_records_are_skipped(tmp_path: Path):
    whole = gzip.compress("\n".join(json.dumps({**ROWS[0], "n": i}) for i in range(5000)).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    for skip_bad in (False, True):
        assert "cut off before its end" in refusal(tmp_path / "a.jsonl.gz", skip_bad=skip_bad)
    (tmp_path / "b.jsonl.gz").write_bytes(LINES.encode())
    assert "it is no gzip file" in refusal(tmp_path / "b.jsonl.gz")
    broken = bytearray(whole)
    broken[200:210] = b"\xff" * 10
    (tmp_path / "c.jsonl.gz").write_bytes(bytes(broken))
    assert "the gzip file is damaged" in refusal(tmp_path / "c.jsonl.gz")


def test_text_that_is_not_utf8_names_its_line(tmp_path: Path):
    assert ":2: is not UTF-8" in refusal(
        write(tmp_path / "a.jsonl", LINES.splitlines()[0].encode() + b'\n{"a": "\xe9"}')
    )
    assert ":3: is not UTF-8" in refusal(write(tmp_path / "a.csv", b"prompt,chosen,rejected\na,b,c\n\xe9,b,c\n"))
    assert "surrogate" in refusal(write(tmp_path / "b.jsonl", '{"prompt": "a", "chosen": "\\ud800", "rejected": "b"}'))
    pair = feedback.load(write(tmp_path / "c.jsonl", '{"prompt": "a", "chosen": "\\ud83d\\ude00", "rejected": "b"}'))[0]
    assert pair.chosen == "😀"


def test_a_record_without_chosen_names_line_and_key(tmp_path: Path):
    for place in (0, 3):
        rows = [dict(row) for row in ROWS]
        del rows[place]["chosen"]
        path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
        assert refusal(path).startswith(f"a.jsonl:{place + 1}: the record has no 'chosen'")
        found = feedback.load(path, skip_bad=True)
        assert len(found) == 4
        assert list(found.left_out.values()) == [1]
    rows = [{"prompt": "a", "choosen": "b", "rejected": "c"}]
    message = refusal(write(tmp_path / "b.json", json.dumps(rows)))
    assert "b.json[0]: no known format fits a record with the keys 'prompt', 'choosen', 'rejected'" in message
    assert "Nearest: 'prompt/chosen/rejected'" in message
    assert "also needs 'chosen' (is 'choosen' meant?)" in message
    assert "Tried: trueup demonstration, " in message


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"prompt": "a", "chosen": None, "rejected": "b"}, "'chosen' is missing"),
        ({"prompt": "a", "chosen": 3, "rejected": "b"}, "'chosen' must be text or a list of messages"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "'prompt' must be text or a list of messages"),
        ({"prompt": [{"role": "narrator", "content": "a"}], "chosen": "a", "rejected": "b"}, "the speaker 'narrator'"),
        ({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "has no text"),
        ({"prompt": "a", "chosen": "a", "rejected": "b", "strength": "much"}, "'strength' must be a number"),
        ({"prompt": "a", "response": "b", "label": 3}, "'label' must be true or false, found 3"),
        ({"prompt": "a", "responses": ["b", "c"], "ranks": [1]}, "one rank per response"),
        ({"prompt": "a", "responses": ["b", "c"], "ranks": [0, 1]}, "whole numbers from 1"),
        ({"prompt": "a", "response": "b", "scores": {"x": "many"}}, "'x' must be a number"),
        ({"prompt": "a", "steps": ["b"], "labels": [True, False]}, "one label per step"),
        ({"kind": "pair", "chosen": "a", "rejected": "b"}, "a pair needs the field 'prompt'"),
        ({"kind": "pair", "prompt": [], "chosen": "a", "rejected": "b", "rank": 1}, "a pair has no field 'rank'"),
        (
            {"kind": "critique", "prompt": [], "response": "ab", "critique": "c", "marks": [{"start": 1, "end": 9}]},
            "lies outside the response",
        ),
        ({"conversations": [{"from": "human", "value": "a"}]}, "no message of the assistant"),
    ],
)
def test_a_bad_record_is_named_and_can_be_skipped(tmp_path: Path, row, says):
    path = write(tmp_path / "a.jsonl", json.dumps(row))
    message = refusal(path)
    assert message.startswith("a.jsonl:1: ")
    assert says in message
    assert "no record is left" in refusal(path, skip_bad=True)


def test_skipped_records_are_counted_by_cause_and_named(tmp_path: Path):
    rows = [{"prompt": "a", "response": "b", "label": label} for label in (True, 3, 4, "false", None)]
    found = feedback.load(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)) + "\n[1]"), skip_bad=True)
    assert [label.label for label in found] == [True, False]
    assert found.left_out == {
        "bad record: 'label' must be true or false": 3,
        "bad record: a record must be a JSON object": 1,
    }
    assert found.left_out_at["bad record: 'label' must be true or false"] == ("a.jsonl:2", "a.jsonl:3", "a.jsonl:5")


def test_csv_with_a_short_row(tmp_path: Path):
    path = write(tmp_path / "a.csv", "prompt,chosen,rejected\na,b,c\nd,e\nf,g,h\n")
    assert refusal(path).startswith("a.csv:3: the header has 3 columns and this row 2")
    assert len(feedback.load(path, skip_bad=True)) == 2
    assert "broken CSV" in refusal(write(tmp_path / "b.csv", 'prompt,chosen,rejected\na,"b"x,c\n'))


def test_nan_is_read_as_missing(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", '{"prompt": "a", "response": "b", "scores": {"x": NaN, "y": 1, "z": "N/A"}}')
    assert feedback.load(path)[0].scores == {"x": None, "y": 1, "z": None}


def test_kind_is_checked(tmp_path: Path):
    path = write(tmp_path / "a.jsonl", LINES)
    assert feedback.load(path, kind="Pair") == feedback.load(path, kind=Pair)
    assert "no kind of feedback called 'pears'" in refusal(path, kind="pears")
    message = refusal(path, kind=Label)
    assert "is read as pair, not as label" in message
    assert "--to label" in message
    assert "Nor can it be converted" in refusal(path, kind=Scores)


def test_records_of_two_kinds_in_one_file(tmp_path: Path):
    rows = [
        {"kind": "pair", "prompt": [], "chosen": "a", "rejected": "b"},
        {"kind": "demonstration", "prompt": [], "response": "a"},
    ]
    message = refusal(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows))))
    assert message == "a.jsonl:1: a pair stands among demonstration records; a file holds one kind."


def test_a_hub_id_is_streamed_and_its_split_asked_for(monkeypatch):
    import datasets

    asked = []

    def load_dataset(name, **options):
        asked.append((name, options))
        return iter(ROWS)

    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name: ["train", "test"])
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert "the splits train, test" in refusal("owner/name")
    found = feedback.load("owner/name:test")
    assert asked == [("owner/name", {"split": "test", "streaming": True})]
    assert (len(found), found[1].id) == (5, "owner/name:test[1]")

    def unreachable(name, **options):
        raise ConnectionError("cannot reach the hub\nand more lines")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    message = refusal("owner/name:test")
    assert "there is no such file here, and the Hugging Face hub did not give it: cannot reach the hub" in message


def test_a_mistyped_path_is_no_hub_id(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert refusal("data/pairs") == "data/pairs: there is no such file."
    assert refusal("nowhere/pairs.jsonl") == "nowhere/pairs.jsonl: there is no such file."


def test_dates_and_bytes_in_parquet(tmp_path: Path):
    import datetime

    from datasets import Dataset

    rows = [{"prompt": "a", "response": "b", "when": datetime.datetime(2024, 5, 1), "picture": b"1234"}]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
    (record,) = feedback.load(tmp_path / "a.parquet")
    assert isinstance(record, Demonstration)
    assert record.extra == {"when": "2024-05-01T00:00:00", "picture": "<4 bytes>"}

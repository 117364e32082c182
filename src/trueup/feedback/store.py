"""Writing records to disk: JSONL line by line, Parquet through Hugging Face `datasets`."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.native import to_dict
from trueup.feedback.records import Record

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
# Columns whose content differs from record to record; Parquet keeps them as JSON text.
JSON_COLUMNS = ("extra", "scores")


def save(records: Sequence[Record], path: Path) -> Path:
    """Writes `records` to `path` by its ending; nothing is left behind when that fails.

    Raises:
        FeedbackError: unknown ending, no records, text that is not Unicode, or the file system refuses.
    """
    if not path.name.endswith(ENDINGS):
        raise FeedbackError(
            "feedback is saved as JSONL or Parquet.", where=str(path), fix=f"End the name in {' or '.join(ENDINGS)}."
        )
    if not records:
        raise FeedbackError("there are no records to save.", where=str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.name.endswith(".parquet"):
            _write_parquet(records, temporary)
        else:
            _write_jsonl(records, temporary, compress=path.name.endswith(".gz"))
        temporary.replace(path)
    except OSError as error:
        raise FeedbackError(f"cannot write: {error.strerror or error}.", where=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _write_jsonl(records: Sequence[Record], path: Path, *, compress: bool) -> None:
    # mtime 0 and no name: the same records give the same bytes
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) if compress else raw as file,
    ):
        for record in records:
            file.write(_json(record, to_dict(record)).encode() + b"\n")


def _write_parquet(records: Sequence[Record], path: Path) -> None:
    from datasets import Dataset, Features, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    rows = [_flat(record) for record in records]
    columns = {name for row in rows for name in row}
    features = _features()
    table = {name: [row.get(name) for row in rows] for name in features if name in columns}
    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        Dataset.from_dict(table, features=Features({name: features[name] for name in table})).to_parquet(str(path))
    finally:
        if shown:
            enable_progress_bars()


def _flat(record: Record) -> dict[str, Any]:
    data = to_dict(record)
    data["prompt"] = [_flat_message(message) for message in data["prompt"]]
    for name in JSON_COLUMNS:
        if name in data:
            data[name] = _json(record, data[name])
    return data


def _flat_message(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {"role": message["role"], "content": content, "parts": None}
    return {"role": message["role"], "content": None, "parts": json.dumps(content)}


def unflatten(data: Mapping[str, Any]) -> dict[str, Any]:
    """Undoes what Parquet did to a record: absent columns, messages with parts, JSON text."""
    row = {name: value for name, value in data.items() if value is not None}
    if isinstance(row.get("prompt"), list):
        row["prompt"] = [_message(message) for message in row["prompt"]]
    for name in JSON_COLUMNS:
        if isinstance(row.get(name), str):
            row[name] = json.loads(row[name])
    return row


def _message(message: Any) -> Any:
    if not isinstance(message, dict) or "parts" not in message:
        return message
    parts = message["parts"]
    return {"role": message["role"], "content": message["content"] if parts is None else json.loads(parts)}


def _features() -> dict[str, Any]:
    from datasets import List, Value

    text = Value("string")
    columns: dict[str, Any] = dict.fromkeys(
        ("kind", "id", "annotator", "source", "goal", "response", "chosen", "rejected", "critique", "revision"), text
    )
    columns |= dict.fromkeys(JSON_COLUMNS, text)
    columns |= {"strength": Value("float64"), "tie": Value("bool"), "label": Value("bool")}
    columns |= {"responses": List(text), "ranks": List(Value("int64"))}
    columns |= {"steps": List(text), "labels": List(Value("bool"))}
    columns["marks"] = List({"start": Value("int64"), "end": Value("int64"), "comment": text})
    columns["prompt"] = List({"role": text, "content": text, "parts": text})
    return columns


def _json(record: Record, data: Any) -> str:
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        raise FeedbackError("holds text that is not Unicode (half a surrogate pair).", where=record.id) from None
    except (TypeError, ValueError) as error:
        raise FeedbackError(f"'extra' holds something JSON cannot keep: {error}.", where=record.id) from None
    return text

"""From what the user names, a file, a folder or a hub id, to rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from trueup.errors import FeedbackError
from trueup.feedback.reading import ENDINGS, Row, is_data_file, plain, read

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.\[\]%:-]+)?")
_SPLITS = {"train": "train", "training": "train", "test": "test", "valid": "validation", "validation": "validation"}
_SPLITS |= {"val": "validation", "dev": "validation", "eval": "test"}


def open_rows(name: str) -> Iterator[Iterable[Row | FeedbackError]]:
    """The rows of each file that `name` stands for.

    Raises:
        FeedbackError: there is no such file, folder or hub data set, or it does not say which split is meant.
    """
    path = Path(name)
    if path.is_dir():
        yield from _folder(path)
    elif path.exists() or is_data_file(path) or not _is_hub_id(name):
        yield read(path)
    else:
        yield _hub(name)


def _folder(path: Path) -> Iterator[Iterable[Row | FeedbackError]]:
    if (path / "dataset_dict.json").is_file():
        names = sorted(child.name for child in path.iterdir() if (child / "state.json").is_file())
        raise FeedbackError(
            f"the data set has the splits {', '.join(names) or '(none)'}.",
            where=str(path),
            fix=f"Name one: {path / (names[0] if names else 'train')}.",
        )
    if (path / "state.json").is_file():
        yield _saved(path)
        return
    files = sorted(child for child in path.iterdir() if child.is_file() and is_data_file(child))
    if not files:
        raise FeedbackError(
            "this folder is no data set: it holds neither a saved `datasets` data set nor data files.",
            where=str(path),
            fix=f"trueup reads {', '.join(ENDINGS)}.",
        )
    splits = {split for file in files if (split := _split_of(file))}
    if len(splits) > 1:
        raise FeedbackError(
            f"the folder holds different splits ({', '.join(file.name for file in files[:6])}), which are not mixed.",
            where=str(path),
            fix="Name one file.",
        )
    for file in files:
        yield read(file)


def _split_of(file: Path) -> str | None:
    words = re.split(r"[^a-z]+", file.name.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def _saved(path: Path) -> Iterator[Row]:
    from datasets import load_from_disk

    try:
        data = load_from_disk(str(path))
    except Exception as error:  # datasets raises whatever its readers raise
        raise FeedbackError(f"`datasets` cannot read the folder: {_first_line(error)}", where=str(path)) from error
    yield from _dataset_rows(data, path.name)


def _is_hub_id(name: str) -> bool:
    # a mistyped path is likelier than a data set whose owner is called like a folder that is here
    return bool(_HUB_ID.fullmatch(name)) and not Path(name.split("/")[0]).is_dir()


def _hub(name: str) -> Iterator[Row]:
    from datasets import get_dataset_split_names, load_dataset

    repository, _, split = name.partition(":")
    try:
        if not split:
            splits = get_dataset_split_names(repository)
            if len(splits) != 1:
                raise FeedbackError(
                    f"the data set has the splits {', '.join(splits)}.",
                    where=name,
                    fix=f"Name one: {name}:{splits[0]}.",
                )
            split = splits[0]
        data = load_dataset(repository, split=split, streaming=True)
    except FeedbackError:
        raise
    except Exception as error:  # network, permission, no such data set: datasets and the hub raise many kinds
        raise FeedbackError(
            f"there is no such file here, and the Hugging Face hub did not give it: {_first_line(error)}", where=name
        ) from error
    yield from _dataset_rows(data, name)


def _dataset_rows(data: Iterable[Any], name: str) -> Iterator[Row]:
    for index, row in enumerate(data):
        yield Row(plain(dict(row)), f"{name}[{index}]", name)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0][:200] if lines else type(error).__name__}"

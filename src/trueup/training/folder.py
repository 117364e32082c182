"""A run's folder: which run it holds, its history, its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

import trueup
from trueup.errors import TrainingError
from trueup.training.checkpoints import Checkpoints
from trueup.training.files import cannot_write, sweep, write_text
from trueup.training.history import History

RUN, HISTORY, CHECKPOINTS, LOCK = "run.json", "history.jsonl", "checkpoints", ".lock"


@dataclass(frozen=True)
class RunFolder:
    """The folder of the run described by `identity`: everything that shapes its result, as plain data.

    Raises:
        TrainingError: the path is a file, or the folder holds another run; names what differs.
    """

    path: Path
    identity: Mapping[str, Any]
    keep: int

    def __post_init__(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError("is a file; a run needs a folder.", where=str(self.path), fix="Choose another folder.")
        fix = "Choose another folder, or delete this one."
        if not (self.path / RUN).is_file():
            if (self.path / HISTORY).exists() or (self.path / CHECKPOINTS).exists():
                raise TrainingError(f"holds parts of a run but no {RUN}.", where=str(self.path), fix=fix)
            return
        try:
            held = json.loads((self.path / RUN).read_text(encoding="utf-8"))["identity"]
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise TrainingError("is not what trueup wrote.", where=str(self.path / RUN), fix=fix) from error
        if differences := _differences(held, json.loads(json.dumps(self.identity))):
            what = f"the folder holds another run: {'; '.join(differences)}."
            raise TrainingError(what, where=str(self.path), fix=fix)

    @property
    def checkpoints(self) -> Checkpoints:
        return Checkpoints(self.path / CHECKPOINTS, self.keep)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """The folder is this run's inside; what a killed process left half-written is cleared away.

        Raises:
            TrainingError: another process is training in it, or it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / LOCK)
            lock.acquire(timeout=0)
        except Timeout as error:
            what = "another process is training in this folder."
            fix = "Wait for it, or choose another folder."
            raise TrainingError(what, where=str(self.path), fix=fix) from error
        except OSError as error:
            raise cannot_write(error, self.path, "nothing was trained") from error
        with lock:
            sweep(self.path)
            if not (self.path / RUN).is_file():
                versions = {"trueup": trueup.__version__, "torch": torch.__version__}
                text = json.dumps({"identity": self.identity, "versions": versions}, indent=2)
                write_text(self.path / RUN, text + "\n", kept="nothing was trained")
            yield

    def history(self, until: int) -> History:
        """The history up to and with step `until`; its file holds nothing later."""
        history = History.load(self.path / HISTORY, until=until)
        history.rewrite()
        return history


def _differences(held: Mapping[str, Any], wanted: Mapping[str, Any], path: str = "") -> list[str]:
    """What differs, key by key, in words."""
    found = []
    for key in sorted(held.keys() | wanted.keys()):
        there, here = held.get(key), wanted.get(key)
        if isinstance(there, dict) and isinstance(here, dict):
            found += _differences(there, here, f"{path}{key}.")
        elif there != here:
            found.append(f"{path}{key} is {_short(there)} there and {_short(here)} here")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."

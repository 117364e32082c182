"""Where results are kept, and how a file or folder appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from safetensors import SafetensorError

from trueup.errors import TrainingError


def cache_folder(override: str | Path | None = None) -> Path:
    """The user's cache: `override`, else $TRUEUP_CACHE, else the platform's folder (~/.cache/trueup on Linux)."""
    if override is not None:
        return Path(override).expanduser()
    if os.environ.get("TRUEUP_CACHE"):
        return Path(os.environ["TRUEUP_CACHE"]).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "trueup"


def content_hash(content: Any) -> str:
    """A short name (32 hex digits) for JSON-able `content`; equal content, equal name."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@contextmanager
def appearing(target: Path, *, kept: str) -> Iterator[Path]:
    """Yields a temporary place to write `target`, which takes its name only once all of it is on disk.

    `target` is a file (an older one is replaced) or a new folder; a reader never sees a part. `kept` says in an error
    what is still there.

    Raises:
        TrainingError: the disk is full or cannot be written; nothing half-written stays.
    """
    place = target.with_name(f".{target.name}.{uuid4().hex[:8]}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield place
        _flush(place)
        place.replace(target)
        _sync(target.parent)
    except (OSError, SafetensorError) as error:
        _remove(place)
        raise cannot_write(error, target, kept) from error
    except BaseException:
        _remove(place)
        raise


def write_text(target: Path, text: str, *, kept: str = "what was there before is kept") -> None:
    """Writes a text file whole or not at all.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    with appearing(target, kept=kept) as place:
        place.write_text(text, encoding="utf-8")


def cannot_write(error: Exception, target: Path, kept: str) -> TrainingError:
    """The error for `target`, which `error` kept from being written; `kept` says what is still there."""
    # safetensors reports errors of the system as text.
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error)
    what = "the disk is full" if full else f"cannot be written ({error})"
    fix = "Free some space" if full else "Make the folder writable"
    return TrainingError(f"{what}; {kept}.", where=str(target), fix=f"{fix} and run the same command again.")


def sweep(folder: Path) -> None:
    """Removes what a killed process left half-written in `folder`, if there is such a folder."""
    for left in folder.glob(".*.tmp"):
        _remove(left)


def _flush(place: Path) -> None:
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    for path in files:
        _sync(path)
    if place.is_dir():
        _sync(place)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":  # Windows cannot open a folder to flush it.
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()

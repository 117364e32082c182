"""What a run leaves behind for its report, as plain data."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from trueup.errors import TrueupError
from trueup.goals import Goals, GoalVerdict
from trueup.measurement import Measurement


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """Feedback that a run used: its `role` (training, held out, ...), where it came from, its kind, size and hash.

    `left_out` counts by cause the records that were not used.
    """

    role: str
    source: str
    kind: str
    records: int
    digest: str
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One training: its `method`, the figures of each step (`step` and any numbers), and what monitors said.

    `measurements` are those made after the stage; they may be empty.
    """

    name: str
    method: str
    steps: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SampleRow:
    """A prompt with an answer before and one after training, their scores by dimension, and the judge's reasons."""

    prompt: str
    before: str
    after: str
    group: str = ""
    scores_before: Mapping[str, float | None] = field(default_factory=dict)
    scores_after: Mapping[str, float | None] = field(default_factory=dict)
    reasons_before: Mapping[str, str] = field(default_factory=dict)
    reasons_after: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """Everything the report shows of one run.

    `model` says in words what was aligned; `recipe` is the recipe's text; `seeds`, `versions` and `data` what is
    needed to repeat it; `not_shown` sentences about what this run cannot show, beside those the report finds itself.
    """

    name: str
    started: datetime
    seconds: float
    model: str
    recipe: str
    goals: Goals
    verdicts: list[GoalVerdict]
    before: list[Measurement]
    after: list[Measurement]
    stages: list[Stage] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)
    seeds: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    data: list[DataSource] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    not_shown: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """The summary as JSON; numbers that are not finite become null."""
        return json.dumps(_plain(_ADAPTER.dump_python(self, mode="json")), indent=1, ensure_ascii=False)

    @classmethod
    def load(cls, path: Path) -> RunSummary:
        """Reads what `to_json` wrote.

        Raises:
            TrueupError: the file is missing or holds something else.
        """
        if not path.is_file():
            raise TrueupError("there is no summary of a run here.", where=str(path), fix="Name the folder of a run.")
        try:
            return _ADAPTER.validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise TrueupError(
                f"not the summary of a run: {place}: {first['msg'].lower()}.",
                where=str(path),
                fix="It may come from another version; run the recipe again.",
            ) from error


def _plain(value: Any) -> Any:
    """What JSON and UTF-8 can hold: samples may contain lone surrogates, diverged runs infinities."""
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return value.encode("utf-8", errors="replace").decode("utf-8")
    return None if isinstance(value, float) and not math.isfinite(value) else value


_ADAPTER = TypeAdapter(RunSummary)

"""What happened in a run: one line a logged step, and the warnings raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trueup.training.files import cannot_write, write_text


@dataclass(frozen=True)
class Warning_:  # noqa: N801  (the builtin Warning is an exception)
    """A monitor's finding: its `name`, the `step` that showed it, and one `sentence` with figures, cause and source."""

    name: str
    step: int
    sentence: str


@dataclass
class History:
    """The logged steps of a run, in order.

    Each entry of `steps` holds step (the first is 1), loss, lr, grad_norm, tokens (in the stream), examples, seconds
    and the objective's metrics. `facts` describes the run as a whole: total steps, precision, processes, threads,
    records left out and why, reference tokens scored and where they came from. With a `file` each step is also a
    line of it.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[Warning_] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    file: Path | None = None

    def log(self, step: dict[str, Any]) -> None:
        """Adds a step, and a line to the file.

        Raises:
            TrainingError: the line cannot be written.
        """
        self.steps.append(step)
        if self.file:
            try:
                with self.file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(step) + "\n")
            except OSError as error:
                raise cannot_write(error, self.file, "the checkpoints are kept") from error

    def column(self, name: str) -> list[float]:
        """The values of one entry over the steps that have it."""
        return [step[name] for step in self.steps if name in step]

    @classmethod
    def load(cls, file: Path, *, until: int | None = None) -> History:
        """Reads a history file, up to and with step `until`; a last line cut short by a kill is left out."""
        steps = _read(file) if file.is_file() else ()
        return cls([step for step in steps if until is None or step["step"] <= until], file=file)

    def rewrite(self) -> None:
        """Makes the file hold exactly these steps."""
        if self.file:
            write_text(self.file, "".join(json.dumps(step) + "\n" for step in self.steps))


def _read(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return

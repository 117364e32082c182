"""How far a run is: bars with the time left on a terminal, a heartbeat line where there is none."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import IO, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Progress(Protocol):
    """Told by a run what it does: phases (reference, training, saving) of a known number of steps, one at a time."""

    def phase(self, name: str, total: int, done: int = 0) -> None:
        """Begins a phase of `total` steps of which `done` are behind us."""

    def step(self, note: str = "") -> None:
        """One more step of the phase is done; `note` is a short text such as the loss."""

    def say(self, sentence: str) -> None:
        """Something the user should read, such as a warning."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Quiet:
    """Says nothing."""

    def phase(self, name: str, total: int, done: int = 0) -> None:
        pass

    def step(self, note: str = "") -> None:
        pass

    def say(self, sentence: str) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Heartbeat(Quiet):
    """A line every `seconds` on `stream` (default standard error): phase, step, note, time left."""

    def __init__(self, seconds: float = 15.0, stream: IO[str] | None = None) -> None:
        self._seconds, self._stream = seconds, stream
        self._spoke = time.monotonic()
        self._name, self._total, self._start, self._done = "", 0, 0, 0
        self._began = self._spoke

    def phase(self, name: str, total: int, done: int = 0) -> None:
        self._name, self._total, self._start, self._done = name, total, done, done
        self._began = time.monotonic()

    def step(self, note: str = "") -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._spoke < self._seconds:
            return
        self._spoke = now
        rate = (now - self._began) / (self._done - self._start)
        left = format_seconds(rate * max(0, self._total - self._done))
        parts = [f"{self._name} {self._done}/{self._total}", note, f"about {left} left"]
        self.say("  ".join(part for part in parts if part))

    def say(self, sentence: str) -> None:
        print(f"trueup: {sentence}", file=self._stream or sys.stderr, flush=True)


class Bars(Quiet):
    """One live bar a phase on a terminal; a phase that begins again has the same bar."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self._bars = RichProgress(*columns, console=console)
        self._tasks: dict[str, TaskID] = {}

    def phase(self, name: str, total: int, done: int = 0) -> None:
        if name in self._tasks:
            self._bars.update(self._tasks[name], total=total, completed=done)
        else:
            self._tasks[name] = self._bars.add_task(name, total=total, completed=done, note="")
        self._task = self._tasks[name]

    def step(self, note: str = "") -> None:
        self._bars.update(self._task, advance=1, note=note)

    def say(self, sentence: str) -> None:
        self._bars.console.print(sentence, markup=False, highlight=False)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()


def automatic(*, speaks: bool = True) -> Progress:
    """Bars when standard error is a terminal, else a heartbeat; quiet unless this process `speaks`."""
    if not speaks:
        return Quiet()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal else Heartbeat()


def format_seconds(seconds: float) -> str:
    """12 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

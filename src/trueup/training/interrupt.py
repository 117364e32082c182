"""SIGINT and SIGTERM let the step finish; a second one stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from trueup.errors import TrainingError


class TrainingInterruptedError(TrainingError):
    """A signal stopped the run; the message says what was saved and how to go on."""

    def __init__(self, what: str, number: int, *, fix: str | None = None) -> None:
        super().__init__(what, fix=fix)
        self.exit_code = 128 + number


class Interruption:
    """While entered, remembers the first SIGINT or SIGTERM in `signal` instead of dying of it.

    Python delivers signals to the main thread only; in another thread nothing is caught.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        # The next signal finds the handlers of before, and so stops at once.
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

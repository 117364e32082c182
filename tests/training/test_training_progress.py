from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console
from tiny_training import make_pairs, make_policy, settings

from trueup.objectives import DPO
from trueup.training import Offline, Trainer, progress
from trueup.training.progress import Bars, Heartbeat, Quiet, automatic, format_seconds


def test_a_heartbeat_names_phase_step_loss_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    stream = io.StringIO()
    heart = Heartbeat(15, stream)
    heart.phase("training", 100, done=10)
    for step in range(20):
        clock[0] += 2
        heart.step(f"loss {step}")
    lines = stream.getvalue().splitlines()
    assert lines == [
        "trueup: training 18/100  loss 7  about 2 min 44 s left",
        "trueup: training 26/100  loss 15  about 2 min 28 s left",
    ]


def test_bars_on_a_terminal() -> None:
    stream = io.StringIO()
    with Bars(Console(file=stream, force_terminal=True, width=100)) as bars:
        bars.phase("training", 4, done=1)
        bars.step("loss [0.5]")
        bars.say("a [warning]")
    text = stream.getvalue()
    assert "training" in text
    assert "2/4" in text
    assert "loss [0.5]" in text
    assert "a [warning]" in text


def test_a_run_tells_its_phases(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    class Listening(Quiet):
        def phase(self, name: str, total: int, done: int = 0) -> None:
            told.append((name, total, done))

    call = {"settings": settings(steps=4, batch_size=8, save_every=2), "folder": tmp_path, "progress": Listening()}
    Trainer(make_policy(), DPO(), Offline(make_pairs()), **call).run()
    assert told[0] == ("reference", 1, 0)
    assert told[1:] == [
        ("training", 4, 0), ("saving", 1, 0), ("training", 4, 2), ("saving", 1, 0), ("training", 4, 4)
    ]  # fmt: skip


@pytest.mark.parametrize(("terminal", "kind"), [(True, Bars), (False, Heartbeat)])
def test_the_terminal_decides(terminal: bool, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "Console", lambda stderr: Console(stderr=stderr, force_terminal=terminal))
    assert type(automatic()) is kind
    assert type(automatic(speaks=False)) is Quiet


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_time_in_words(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text

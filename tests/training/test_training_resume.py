"""A run that is killed, stopped or split ends with the weights of one that was not, bit for bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from filelock import FileLock
from safetensors.torch import load_file
from tiny_training import make_demonstrations, make_pairs, make_policy, same_bits, settings, weights, with_adapters
from worker_training import run_dpo, start

from trueup.errors import TrainingError
from trueup.objectives import DPO, SFT
from trueup.training import Offline, Trainer
from trueup.training.progress import Quiet


def lines(folder: Path) -> int:
    file = folder / "history.jsonl"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def wait_until_training(out: Path) -> None:
    """Waits until the process that `run_dpo` runs in takes its first step."""
    file, until = out.with_suffix(".begun"), time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < until
        time.sleep(0.002)
    file.unlink()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and history of the run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = start(run_dpo, folder / "run", folder / "cache", folder / "weights.safetensors")
    process.join(120)
    assert process.exitcode == 0
    return folder


def history(folder: Path) -> list[dict]:
    steps = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in step.items() if key != "seconds"} for step in steps]


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_points(seed: int, tmp_path: Path, cache: Path, uninterrupted: Path) -> None:
    generator = random.Random(seed)
    run, out = tmp_path / "run", tmp_path / "weights.safetensors"
    reached = []
    for _ in range(8):
        process = start(run_dpo, run, cache, out)
        if generator.random() < 0.8:  # else somewhere before the first step
            wait_until_training(out)
        process.join(generator.uniform(0.0, 0.2))
        process.kill()
        process.join()
        out.with_suffix(".begun").unlink(missing_ok=True)
        reached.append(lines(run))
        if process.exitcode == 0:
            break
    else:
        process = start(run_dpo, run, cache, out)
        process.join(60)
    assert process.exitcode == 0
    assert len(set(reached)) > 1, f"every kill found the same step: {reached}"
    assert same_bits(load_file(out), load_file(uninterrupted / "weights.safetensors"))
    assert history(run) == history(uninterrupted / "run")
    assert not list(run.rglob(".*.tmp"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    number: int, tmp_path: Path, cache: Path, uninterrupted: Path
) -> None:
    run, out = tmp_path / "run", tmp_path / "weights.safetensors"
    process = start(run_dpo, run, cache, out)
    wait_until_training(out)
    assert process.pid
    os.kill(process.pid, number)
    process.join(60)
    assert process.exitcode == 128 + number
    said = run.with_suffix(".error").read_text()
    done = lines(run)
    assert f"stopped by {signal.Signals(number).name} after step {done} of 20" in said
    assert "Run the same command again" in said
    assert (run / "checkpoints" / f"step-{done:07d}").is_dir()
    process = start(run_dpo, run, cache, out)
    process.join(60)
    assert process.exitcode == 0
    assert same_bits(load_file(out), load_file(uninterrupted / "weights.safetensors"))


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_every_checkpoint_leads_to_the_same_end(dropout: float, tmp_path: Path) -> None:
    """Dropping the newest checkpoints one by one and going on; with dropout the random state counts too."""

    def run(folder: Path) -> dict:
        policy = with_adapters(make_policy(), dropout) if dropout else make_policy()
        changes = {"steps": 6, "batch_size": 8, "save_every": 1, "keep": 6, "weight_decay": 0.1}
        Trainer(policy, SFT(), Offline(make_demonstrations()), settings=settings(**changes), folder=folder).run()
        return weights(policy)

    whole = run(tmp_path)
    for dropped in range(6, 1, -1):
        shutil.rmtree(tmp_path / "checkpoints" / f"step-{dropped:07d}")
        assert same_bits(run(tmp_path), whole)
        for later in range(dropped, 6):
            shutil.rmtree(tmp_path / "checkpoints" / f"step-{later + 1:07d}", ignore_errors=True)


def test_a_finished_run_is_only_read_again(tmp_path: Path) -> None:
    def run() -> tuple:
        policy = make_policy()
        trainer = Trainer(policy, DPO(), Offline(make_pairs()), settings=settings(steps=4), folder=tmp_path)
        return trainer.run(), weights(policy)

    (first, trained), (second, again) = run(), run()
    assert same_bits(trained, again)
    assert second.steps == first.steps
    assert second.facts["resumed_from"] == 4


def test_bookkeeping_may_change_between_parts_of_a_run(tmp_path: Path) -> None:
    for save_every in (1, 3):
        changes = settings(steps=3, save_every=save_every, keep=save_every)
        Trainer(make_policy(), DPO(), Offline(make_pairs()), settings=changes, folder=tmp_path).run()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"settings": settings(steps=3, learning_rate=5e-4)}, "settings.learning_rate is 0.001 there and 0.0005 here"),
        ({"objective": DPO(beta=0.5)}, "hyperparameters.beta"),
        ({"source": Offline(make_pairs(seed=1))}, "data is"),
        ({"policy": make_policy(seed=3)}, "model is"),
        ({"objective": SFT(), "source": Offline(make_demonstrations())}, "objective is"),
    ],
    ids=["settings", "hyperparameter", "data", "model", "objective"],
)
def test_a_folder_that_holds_another_run_is_refused(change: dict, named: str, tmp_path: Path) -> None:
    call = {"policy": make_policy(), "objective": DPO(), "source": Offline(make_pairs()), "folder": tmp_path}
    Trainer(**{**call, "settings": settings(steps=3)}).run()
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    fresh = {**call, "policy": make_policy(), "settings": settings(steps=3), **change}
    with pytest.raises(TrainingError, match="holds another run") as error:
        Trainer(**fresh).run()
    assert named in str(error.value)
    assert "Choose another folder" in str(error.value)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_a_file_or_a_strange_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "history.jsonl").write_text("{}")
    for folder, what in ((file, "is a file"), (tmp_path / "strange", "no run.json")):
        with pytest.raises(TrainingError, match=what):
            Trainer(make_policy(), DPO(), Offline(make_pairs()), settings=settings(steps=3), folder=folder).run()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    call = {"objective": DPO(), "source": Offline(make_pairs()), "settings": settings(steps=3), "folder": tmp_path}
    Trainer(make_policy(), **call).run()
    newest = tmp_path / "checkpoints" / "step-0000003" / "weights.safetensors"
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(TrainingError, match=r"weights.safetensors: is damaged .* Delete"):
        Trainer(make_policy(), **call).run()


def test_the_history_survives_a_line_cut_short(tmp_path: Path) -> None:
    call = {"objective": DPO(), "source": Offline(make_pairs()), "settings": settings(steps=3), "folder": tmp_path}
    Trainer(make_policy(), **call).run()
    with (tmp_path / "history.jsonl").open("a") as stream:
        stream.write('{"step": 4, "lo')
    assert [step["step"] for step in Trainer(make_policy(), **call).run().steps] == [1, 2, 3]
    assert lines(tmp_path) == 3


def test_what_a_killed_process_left_half_written_is_swept_away(tmp_path: Path) -> None:
    call = {"objective": DPO(), "source": Offline(make_pairs()), "settings": settings(steps=3), "folder": tmp_path}
    Trainer(make_policy(), **call).run()
    half = tmp_path / "checkpoints" / ".step-0000009.0123abcd.tmp"
    half.mkdir()
    (half / "state.json").write_text("{}")
    (tmp_path / ".history.jsonl.0123abcd.tmp").write_text("{")
    assert Trainer(make_policy(), **call).run().facts["resumed_from"] == 3
    assert not list(tmp_path.rglob(".*.tmp"))


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    call = {"objective": DPO(), "source": Offline(make_pairs()), "settings": settings(steps=3), "folder": tmp_path}
    with FileLock(tmp_path / ".lock"), pytest.raises(TrainingError, match="another process is training in this folder"):
        Trainer(make_policy(), **call).run()
    assert not (tmp_path / "run.json").exists()
    assert len(Trainer(make_policy(), **call).run().steps) == 3


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Trainer(make_policy(), SFT(), Offline(make_demonstrations()), settings=settings(steps=2), progress=Quiet()).run()
    assert not list(tmp_path.iterdir())

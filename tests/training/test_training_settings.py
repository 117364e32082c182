from __future__ import annotations

import pytest
import torch

from trueup.errors import RecipeError
from trueup.training import Settings
from trueup.training.settings import resolve_precision
from trueup.validation import validate


def rates(total: int, **changes: object) -> list[float]:
    chosen = Settings.model_validate({"learning_rate": 1.0, "warmup": 0, **changes})
    return [chosen.learning_rate_at(step, total) for step in range(total)]


def test_constant() -> None:
    assert rates(4, schedule="constant") == [1.0] * 4


def test_linear_ends_just_above_zero() -> None:
    assert rates(4, schedule="linear") == pytest.approx([1, 0.75, 0.5, 0.25])


def test_cosine_is_half_way_in_the_middle() -> None:
    found = rates(8, schedule="cosine")
    assert found[0] == 1
    assert found[4] == pytest.approx(0.5)
    assert found == sorted(found, reverse=True)
    assert found[7] > 0


@pytest.mark.parametrize("warmup", [4, 0.4])
def test_warmup_in_steps_or_as_a_fraction(warmup: float) -> None:
    found = rates(10, warmup=warmup, schedule="constant")
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1])


def test_the_schedule_begins_after_the_warmup() -> None:
    assert rates(6, warmup=2, schedule="linear") == pytest.approx([0.5, 1, 1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(
    ("given", "steps"), [({}, 10), ({"epochs": 2.5}, 25), ({"epochs": 0.01}, 1), ({"steps": 7}, 7)]
)
def test_length_of_a_run(given: dict, steps: int) -> None:
    assert Settings.model_validate(given).total_steps(10) == steps


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 1, "steps": 5}, "give epochs or steps, not both"),
        ({"warmup": 2.5}, "neither a fraction below 1 nor a whole number"),
        ({"betas": [0.9, 1.0]}, "must lie in [0, 1)"),
        ({"learning_rat": 1}, "learning_rat: unknown key; did you mean learning_rate?"),
        ({"batch_size": 0}, "batch_size: input should be greater than or equal to 1, found 0"),
        ({"batch_size": "many"}, "batch_size"),
        ({"schedule": "cosinus"}, "schedule: input should be 'constant', 'linear' or 'cosine', found 'cosinus'"),
        ({"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_wrong_settings_are_named(given: dict, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        validate(Settings, given, where="recipe.yaml")
    assert message in str(error.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().seed = 3  # type: ignore[misc]


def test_bookkeeping_does_not_decide_a_run() -> None:
    assert Settings(save_every=3, keep=9, log_every=7).decisive() == Settings().decisive()
    assert Settings(seed=1).decisive() != Settings().decisive()


@pytest.mark.parametrize(
    ("has", "width", "precision"),
    [
        ({"avx512_bf16": True}, 512, "bfloat16"),
        ({"avx512_bf16": True}, 256, "float32"),
        ({"avx2": True}, 512, "float32"),
    ],
    ids=["pays", "too narrow", "emulated"],
)
def test_auto_takes_bfloat16_where_the_processor_gains_by_it(
    has: dict, width: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    assert resolve_precision("auto", "cpu", width) == precision
    assert resolve_precision("float32", "cpu", width) == "float32"
    assert resolve_precision("bfloat16", "cpu", width) == "bfloat16"
    assert resolve_precision("auto", "mps", width) == "float32"


def test_an_older_torch_that_cannot_tell_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert resolve_precision("auto", "cpu", 4096) == "float32"

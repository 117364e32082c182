"""The shipped demo keeps its promise: over three seeds, honest and harmless rise and helpful does not fall."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trueup import recipes
from trueup.training.progress import Quiet


@pytest.mark.slow
@pytest.mark.shows("sft", "gold")
@pytest.mark.shows("dpo", "gold")
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_demo_aligns_hamlet(seed: int, tmp_path: Path) -> None:
    outcome = recipes.run(recipes.load("demo", {"seed": seed}), tmp_path / "run", progress=Quiet())
    assert outcome.met
    found = {
        entry["name"]: entry
        for goal in json.loads((tmp_path / "run" / "evidence.json").read_text())
        for entry in goal["evidence"]
    }
    for name in ("hamlet.honest", "hamlet.harmless"):
        assert found[name]["interval_of"] == "difference"
        assert found[name]["interval"][0] > 0
    assert found["hamlet.helpful"]["interval"][1] >= 0 or found["hamlet.helpful"]["outcome"] == "holds"

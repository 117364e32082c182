"""Fixtures and options of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of recorded real data; tests that need it are skipped, with this reason, where it is absent."""
    folder = Path(os.environ.get("TRUEUP_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"recorded data not found at {folder}; set TRUEUP_DATA to its folder")
    return folder

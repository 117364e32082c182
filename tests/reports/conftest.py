from __future__ import annotations

import pytest
from example_run import example_run

from trueup.reports import RunSummary


@pytest.fixture(scope="session")
def summary() -> RunSummary:
    return example_run()

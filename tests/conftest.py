"""What every test stands on: the fixtures of `fix_*.py`, and how hard hypothesis looks."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Each concern brings its fixtures in a file of its own; a new one needs no entry anywhere.
pytest_plugins = [path.stem for path in sorted(Path(__file__).parent.glob("fix_*.py"))]
# All of them before the first is imported: they may import each other, in any order.
pytest.register_assert_rewrite(*pytest_plugins)

# No deadline: the machine is shared, and a slow moment is no defect. `ci` gives the same answer every time;
# `night` looks for longer than a person waits: HYPOTHESIS_PROFILE=night scripts/test tests/laws
settings.register_profile("all", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("all"), max_examples=50, derandomize=True, database=None)
settings.register_profile("look", settings.get_profile("all"), max_examples=200)
settings.register_profile("night", settings.get_profile("all"), max_examples=20_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

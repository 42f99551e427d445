"""What every test stands on: the fixtures of `fix_*.py`, and how hard hypothesis looks."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

# Each concern brings its fixtures in a file of its own; a new one needs no entry anywhere.
pytest_plugins = [path.stem for path in sorted(Path(__file__).parent.glob("fix_*.py"))]

# No deadline: the machine is shared, and a slow moment is no defect. `ci` gives the same answer every time;
# `night` looks for longer than a person waits: HYPOTHESIS_PROFILE=night scripts/test tests/laws
_quiet = [HealthCheck.too_slow]
settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, database=None, suppress_health_check=_quiet)
settings.register_profile("look", deadline=None, max_examples=200, suppress_health_check=_quiet)
settings.register_profile("night", deadline=None, max_examples=20_000, suppress_health_check=_quiet)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

"""The laws of pruning at length: it dies at each of its calls, and each of them fails once, where `tests/laws` takes
every eleventh; and many more lives of writers, copiers and pruners together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAWS = Path(__file__).parents[1] / "laws"


@pytest.mark.parametrize(
    ("law", "chosen", "longer"),
    [
        ("test_prune.py", "goes_wrong", "BACKSTAY_EVERY_DEATH"),
        ("test_prune_together.py", "chance or Together", "BACKSTAY_LONG_TOGETHER"),
    ],
)
def test_the_law_holds_at_length(law: str, chosen: str, longer: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", LAWS / law, "-k", chosen],
        env={**os.environ, longer: "1"}, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout

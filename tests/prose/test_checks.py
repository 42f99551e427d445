"""Every check has its section in docs/reference/checks.md, and every section is of a check."""

import re
from pathlib import Path

from backstay.adapters.postgres.checks import CODES as POSTGRES
from backstay.adapters.sqlite.answers import CODES as SQLITE
from backstay.readiness import CODES as READY
from backstay.verify import CODES as COMMON
from backstay.verify import SEVERITIES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "checks.md"


def test_every_code_of_a_check_is_explained_and_no_other() -> None:
    explained = re.findall(r"^### ([A-Z]\d\d) .", PAGE.read_text(), re.M)
    assert sorted(explained) == sorted({*COMMON, *POSTGRES, *SQLITE, *READY})


def test_the_page_says_how_much_each_check_weighs() -> None:
    said = dict(re.findall(r"^### ([A-Z]\d\d) .*\n\n\*(Critical|Serious|Promise)\.\* ", PAGE.read_text(), re.M))
    assert said == {code: severity.value.capitalize() for code, severity in SEVERITIES.items()}
    assert SEVERITIES.keys() == {*COMMON, *POSTGRES, *SQLITE}


def test_one_code_has_one_rung() -> None:
    both = {code: (POSTGRES[code][0], SQLITE[code][0]) for code in POSTGRES.keys() & SQLITE.keys()}
    assert all(one is other for one, other in both.values())


def test_every_test_that_the_page_about_postgres_names_is_there() -> None:
    root = Path(__file__).resolve().parents[2]
    named = set(re.findall(r"`(test_\w+)`", (root / "docs" / "explanation" / "postgres.md").read_text()))
    written = {
        name for path in (root / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named - written == set()
    assert len(named) > 20

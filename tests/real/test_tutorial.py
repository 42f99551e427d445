"""The tutorial and the how-to pages do what they say: every command in them is typed, on a real PostgreSQL.

The tutorial is walked through once. Each how-to page goes on in a copy of the folder in which the tutorial ended, as
its readers do. How a page says what is to be run, and what has to come back: `fix_pages`.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from fix_estate import end_everything
from fix_pages import DOCS, Block, Reader, blocks, loosely, missing, terminal

TUTORIAL = DOCS / "tutorial" / "first-recovery.md"
HOW_TO = sorted((DOCS / "how-to").glob("*.md"))
BESIDE = ("ssh-keygen",)
"""Programs that a page needs beside PostgreSQL's and a bare Debian's."""


@dataclass(frozen=True, slots=True)
class Walked:
    """The tutorial at its end, everything stopped; or the words in which it failed."""

    reader: Reader
    failed: str


@pytest.fixture(scope="session")
def walked(homes: Path) -> Walked:
    reader, failed = terminal(homes / "first"), ""
    try:
        for block in blocks(TUTORIAL):
            if "again" not in block.words:
                reader.do(block)
    except pytest.fail.Exception as error:
        failed = str(error)
    end_everything(reader.home)
    return Walked(reader, failed)


@pytest.fixture
def reader(walked: Walked, homes: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    """Somebody who did the tutorial yesterday, and starts the shop again to go on."""
    if walked.failed:
        pytest.skip("the tutorial itself does not work")
    page: Path = request.node.callspec.params["page"]
    if lacking := [program for program in BESIDE if program in page.read_text() and shutil.which(program) is None]:
        pytest.skip(f"this machine lacks {lacking[0]}")
    home = homes / request.node.callspec.id.removesuffix(".md")
    shutil.copytree(walked.reader.home, home, symlinks=True)
    old, new = str(walked.reader.home), str(home)
    environment = {name: value.replace(old, new) for name, value in walked.reader.environment.items()}
    somebody = replace(walked.reader, home=home, folder=home, environment=environment)
    for block in blocks(TUTORIAL):
        if "again" in block.words:
            somebody.do(block)
    yield somebody
    end_everything(home)
    shutil.rmtree(home)


def test_the_tutorial_does_what_it_says(walked: Walked) -> None:
    assert not walked.failed, walked.failed


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.name)
def test_a_how_to_page_does_what_it_says(page: Path, reader: Reader) -> None:
    reader.read(page)


def test_what_is_printed_is_compared_loosely() -> None:
    printed = "✔ orders: 20261122T222509Z-dd9538cb in local,\n   49.0 MB in 400 ms\nbetween\ndone after 1 min 4 s\n"
    assert missing("✔ orders: 20270101T000000Z-00000000 in local, 5 kB in 3 s\ndone after 900 ms", printed) is None
    assert missing("done after 3 s\nbetween", printed) == "between"
    assert missing("✔ settings", printed) == "✔ settings"
    assert loosely("sha256:0a1b…") == loosely("sha256:ff…")


def test_every_block_of_commands_is_run_or_says_that_it_is_not() -> None:
    strange = [block.place for page in (TUTORIAL, *HOW_TO) for block in blocks(page) if not _understood(block)]
    assert strange == []


def _understood(block: Block) -> bool:
    known = {"sh": ({"again", "not-run"}, {"exit", "file", "mode"}), "yaml": (set[str](), {"file", "into", "mode"})}
    words, options = known.get(block.language, ({"not-run"}, {"file", "mode"}))
    return set(block.words) <= words and set(block.options) <= options and block.language not in ("bash", "console")

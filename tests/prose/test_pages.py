"""The pages: links lead somewhere, commands exist, change notes keep their form, nothing tells where it was written."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def prose(text: str) -> str:
    """Without blocks of code."""
    return re.sub(r"^( *)```.*?^\1```", "", text, flags=re.M | re.S)


# ── links ────────────────────────────────────────────────────────────────────────────────────────


def anchors(text: str) -> set[str]:
    """As GitHub makes them: small letters, no punctuation, hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> Iterator[str]:
    """Relative links that lead nowhere."""
    for found in re.finditer(r"\[[^\]]*\]\(<?([^)\s>]+)>?(?: \"[^\"]*\")?\)", prose(text)):
        target = found[1]
        link = urlsplit(target)
        if link.scheme or link.netloc:
            continue
        file = (page.parent / unquote(link.path)) if link.path else page
        if link.path and not file.exists():
            yield f"{target} is not there"
        elif link.fragment and file.suffix == ".md":
            known = anchors(text if file == page else file.read_text())
            if link.fragment not in known:
                yield f"{target}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page, page.read_text())) == []


def test_every_page_can_be_reached_from_the_index() -> None:
    start = ROOT / "docs/index.md"
    reached, waiting = {start}, [start]
    while waiting:
        page = waiting.pop()
        for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text()):
            found = (page.parent / target).resolve()
            if found.exists() and found not in reached:
                reached.add(found)
                waiting.append(found)
    lost = [page for page in PAGES if "docs" in page.parts and page not in reached and page.parent.name != "changes"]
    assert [str(page.relative_to(ROOT)) for page in lost] == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    text = "# A *b* c\n[x](nowhere.md) [y](#a-b-c) [z](#d) [w](https://example.org)\n```\n[v](code.md)\n```\n"
    assert list(broken(tmp_path / "page.md", text)) == ["nowhere.md is not there", "#d: no such heading"]


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


def commands(text: str) -> set[str]:
    """The verbs named in a page: words after `backstay` in code. `backstay journal verify` gives both levels."""
    code = re.findall(r"`([^`\n]+)`", prose(text)) + re.findall(r"^ *(?:\$ )?(backstay .*)$", text, re.M)
    return {
        match[1] for line in code if (match := re.match(r"backstay ((?:[a-z]+\b(?![-./=:]) ?){1,2})", line.strip()))
    }


def test_every_command_that_a_page_names_exists() -> None:
    from backstay.cli import app

    unknown: list[str] = []
    for page in PAGES:
        for words in commands(page.read_text()):
            here = app
            for depth, word in enumerate(words.split()):
                if word in here:
                    here = here[word]
                elif depth == 0 or [name for name in here if not name.startswith("-")]:
                    unknown.append(f"{page.relative_to(ROOT)}: backstay {words.strip()}")
                    break
                else:
                    break  # an argument
    assert unknown == []


def test_a_command_is_recognised() -> None:
    text = "Run `backstay plan check` or\n\n    $ backstay points --json\n\nin backstay.yaml; `backstay.yaml` too."
    assert {words.strip() for words in commands(text)} == {"plan check", "points"}


def test_the_help_in_the_readme_is_the_help() -> None:
    """Written by scripts/readme.py, wherever the README has a block that begins with `$ backstay … --help`."""
    ended = subprocess.run(
        [sys.executable, str(ROOT / "scripts/readme.py"), "--check"],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr


# ── change notes ─────────────────────────────────────────────────────────────────────────────────

KINDS = ("added", "changed", "fixed", "security")


def ill_formed(name: str, text: str) -> list[str]:
    found: list[str] = []
    if not re.fullmatch(rf"[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(KINDS)})\.md", name):
        found.append(f"{name}: the name is <slug>.<{'|'.join(KINDS)}>.md")
    sentence = text.removesuffix("\n")
    if "\n" in sentence or not re.fullmatch(r"[A-Z`].*[^.]\.", sentence) or re.search(r"[.!?] [A-Z]", sentence):
        found.append(f"{name}: one sentence on one line, with a capital letter and a full stop")
    if len(sentence) > 240:
        found.append(f"{name}: {len(sentence)} characters, more than 240")
    return found


def test_change_notes_keep_their_form() -> None:
    notes = [path for path in (ROOT / "docs/changes").iterdir() if path.name != "README.md"]
    assert [fault for path in notes for fault in ill_formed(path.name, path.read_text())] == []


def test_an_ill_formed_change_note_is_found() -> None:
    assert ill_formed("restore-beside.fixed.md", "Restores no longer wait for `x.y` in 1.2.\n") == []
    assert len(ill_formed("Restore_beside.md", "Restores work\n")) == 2
    assert len(ill_formed("a.added.md", "One. Two.\n")) == 1
    assert len(ill_formed("a.added.md", f"O{'n' * 300}e.\n")) == 1


# ── nothing tells where it was written ───────────────────────────────────────────────────────────


def told(text: str, hosts: set[str]) -> list[str]:
    """Paths of a development machine, and hosts of package registries. (Spelled here so that they do not match.)"""
    places = re.findall(r"(?<![\w.])/" + r"work/(?:main|shared|brief|\.library)\b", text)
    return [*places, *(host for host in hosts if host in text)]


def registries() -> set[str]:
    """The well-known ones, and the ones that this machine is told to use."""
    known = {"pypi" + ".org", "pythonhosted" + ".org", "deb.debian" + ".org", "registry.npmjs" + ".org"}
    options = [os.environ.get(name, "") for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL")]
    config = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=60, check=False
    )
    hosts = {host.rpartition("@")[2] for host in re.findall(r"https?://([^/:\s']+)", " ".join(options) + config.stdout)}
    return known | (hosts - {"127.0.0.1", "localhost"})


def test_no_file_tells_where_it_was_written() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: which files belong to the project is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    hosts = registries()
    found = {
        name: places
        for name in listed.stdout.split("\0")
        if name and (path := ROOT / name).is_file() and not path.is_symlink()
        if (places := told(path.read_bytes().decode("utf-8", "ignore"), hosts))
    }
    assert found == {}


def test_a_telling_file_is_found() -> None:
    assert told("see /" + "work/main/x and https://files.pythonhosted" + ".org/y", registries()) == [
        "/" + "work/main", "pythonhosted" + ".org",
    ]  # fmt: skip
    assert told("/home/me/work/main and /workspace", registries()) == []

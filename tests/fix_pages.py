"""Pages whose commands are run: what stands in their blocks, how it is typed, and what has to come back.

How a page says it, behind the three backticks (readers of the rendered page do not see it):

    sh                    run it; it has to end with 0
    sh exit=65            run it; it has to end with 65
    sh again              run it; later pages run it first, to go on where this page stopped
    sh not-run            only to be read
    LANGUAGE file=NAME    write it to the file NAME, with `mode=755` if it is to be a program
    yaml into=NAME        lay it over the YAML file NAME: mappings are merged, the rest is replaced
    text                  what the block before it printed. Each line has to come, in this order; other lines may come
                          between them. Numbers, times, sizes and ids may differ, and a line may be cut short

Each block of commands is one `bash -e`; the next begins in the folder and the environment in which it ended. `~` and
`/home/me` are the home of the test, and ports are its own.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from ruamel.yaml import YAML

from fix_estate import end_everything
from fix_postgres import as_server_user, free_port, postgres_bin

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
LONGEST_S = 180.0
PORTS = ("25432", "25433")
"""As they are written in the pages: the shop's database, and the sandbox's."""
HOME = "/home/me"


# ── what a page says ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Block:
    page: str
    line: int
    language: str
    words: tuple[str, ...]
    options: Mapping[str, str]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language == "sh" and "not-run" not in self.words and "file" not in self.options


_BLOCK = re.compile(r"^```(?P<info>[a-z][^\n]*)\n(?P<text>.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found: list[Block] = []
    for match in _BLOCK.finditer(text):
        language, *words = match["info"].split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        plain = tuple(word for word in words if "=" not in word)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page.relative_to(ROOT).as_posix(), line, language, plain, options, match["text"]))
    return found


# ── what has to come back ────────────────────────────────────────────────────────────────────────

_SPAN = r"# (?:ms|s|min|h|d)\b(?: # (?:ms|s|min|h|d)\b)*"


def loosely(text: str) -> str:
    """The same, without what differs from one time to the next, on one line."""
    text = re.sub(r"sha256:[0-9a-f]+", "sha256:", text)
    text = re.sub(r"\b[0-9a-f]{32,64}\b", "#hex", text)
    text = re.sub(r"\b\d{8}[Tt]\d{6}[Zz]-[0-9a-f]{4,8}\b", "#id", text)
    text = re.sub(r"\d[\d,.:]*", "#", text)
    text = re.sub(_SPAN, "#span", text)
    text = re.sub(r"# (?:B|kB|MB|GB)\b", "#size", text)
    return " ".join(text.split())


def missing(wanted: str, printed: str) -> str | None:
    """The first line of `wanted` that `printed` does not have, where it should come."""
    seen, at = loosely(printed), 0
    for line in wanted.splitlines():
        loose = loosely(line.strip().removesuffix("…"))
        found = seen.find(loose, at)
        if found < 0:
            return line
        at = found + len(loose)
    return None


# ── typing it ────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Reader:
    """Somebody with a terminal, a home, and a page."""

    home: Path
    ports: Mapping[str, str]
    environment: dict[str, str]
    folder: Path
    typed: int = 0
    last: str = ""
    """What the last block printed."""
    notes: Path = field(init=False)

    def __post_init__(self) -> None:
        self.notes = self.home / ".typed"
        self.notes.mkdir(exist_ok=True)

    def read(self, page: Path) -> None:
        """Do what the page says, from top to bottom. Fails at the first block that does not do what it should."""
        for block in blocks(page):
            self.do(block)

    def do(self, block: Block) -> None:
        match block.language, block.options:
            case _, {"file": name}:
                path = self.folder / name
                path.write_text(self.own(block.text))
                path.chmod(int(block.options.get("mode", "644"), 8))
            case "yaml", {"into": name}:
                lay_over(self.folder / name, self.own(block.text))
            case "sh", _ if block.runs:
                self.last = self.type(block.text, int(block.options.get("exit", "0")), block.place)
            case "text", _:
                line = missing(self.own(block.text), self.last)
                if line is not None:
                    pytest.fail(f"{block.place}: this was not printed:\n{line}\nbut this was:\n{self.last}")
            case _:
                pass

    def type(self, text: str, code: int = 0, place: str = "") -> str:
        """What the commands print, on both streams. Fails unless they end with `code`."""
        self.typed += 1
        script, printed = self.notes / f"{self.typed}.sh", self.notes / f"{self.typed}.out"
        environment, folder = self.notes / "environment", self.notes / "folder"
        # -a: what a block assigns, the next one has.
        script.write_text(f"set -a\ntrap 'export -p > {environment}; pwd > {folder}' EXIT\n{self.own(text)}")
        with printed.open("wb") as out:
            # To a file: what goes on in the background keeps the block's output open.
            ended = subprocess.run(
                ["bash", "-e", str(script)], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, timeout=LONGEST_S, check=False,
            )  # fmt: skip
        said = printed.read_text(errors="replace")
        self.environment = dict(_exported(environment.read_text()))
        self.folder = Path(folder.read_text().removesuffix("\n"))
        if ended.returncode != code:
            pytest.fail(f"{place}: ended with {ended.returncode} instead of {code}:\n{text}\n{said}")
        return said

    def own(self, text: str) -> str:
        """With this home and these ports."""
        for usual, mine in self.ports.items():
            text = text.replace(usual, mine)
        return text.replace(HOME, str(self.home))


def _exported(declared: str) -> Iterator[tuple[str, str]]:
    """What `export -p` wrote: `declare -x NAME="value"`."""
    words = shlex.split(declared)
    for word in words:
        name, equals, value = word.partition("=")
        if equals and re.fullmatch(r"[A-Za-z_][A-Za-z_0-9]*", name):
            yield name, value


def lay_over(file: Path, text: str) -> None:
    """Mappings are merged, whatever else is there is replaced: as `extends` of the plan file does."""
    yaml: Any = YAML()

    def merged(under: Any, over: Any) -> Any:
        if not isinstance(under, dict) or not isinstance(over, dict):
            return over
        whole = dict(cast("dict[str, Any]", under))
        for key, value in cast("dict[str, Any]", over).items():
            whole[key] = merged(whole.get(key), value)
        return whole

    with file.open() as before:
        whole = merged(yaml.load(before), yaml.load(text))
    with file.open("w") as after:
        yaml.dump(whole, after)


def terminal(home: Path) -> Reader:
    """A new reader with an empty home."""
    home.mkdir(parents=True)
    (home / "backstay").symlink_to(ROOT)  # where the pages have their clone
    programs = home / ".programs"
    programs.mkdir()
    for name in ("initdb", "pg_ctl"):
        # The server refuses to run as root, which a reader is not, and a test may be.
        words = " ".join(map(shlex.quote, as_server_user([postgres_bin() / name])))
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)
    path = [str(programs), str(Path(sys.executable).parent), str(postgres_bin()), os.environ.get("PATH", "")]
    kept = {name: os.environ[name] for name in ("LANG", "LD_LIBRARY_PATH", "TMPDIR", "USER") if name in os.environ}
    environment = {**kept, "HOME": str(home), "PATH": ":".join(path), "COLUMNS": "100", "LC_ALL": "C.UTF-8"}
    return Reader(home, {usual: str(free_port()) for usual in PORTS}, environment, home)


@pytest.fixture(scope="session")
def homes(estates: Path) -> Iterator[Path]:
    """The folder of all readers' homes; what runs there ends with the session, also when pytest is killed."""
    folder = estates / "readers"
    yield folder
    end_everything(folder)
    shutil.rmtree(folder, ignore_errors=True)

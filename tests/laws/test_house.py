"""The house rules that matter are tests; a rule that nobody checks is a wish.

Each law is a function from one module to its breaches, and each is shown able to find one. The order of imports is
import-linter's (`pyproject.toml`, run by `scripts/test`). A size that has a good reason says so in the file:
`# house: <the reason>` on a line of its own for the file, in its head for a function.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())

LAYERS: list[str] = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
PURE = {name.strip("() ") for layer in LAYERS[LAYERS.index("ports") + 1 :] for name in layer.split("|")}
"""The words and the story: every layer below `ports`."""

ALLOWED = {
    "__future__", "abc", "base64", "bisect", "calendar", "collections", "contextlib", "copy", "dataclasses", "datetime",
    "decimal", "difflib", "enum", "fractions", "functools", "graphlib", "hashlib", "heapq", "html", "ipaddress",
    "itertools", "json", "math", "operator", "re", "shlex", "statistics", "string", "struct", "textwrap", "types",
    "typing", "unicodedata", "urllib.parse",
    # The tables of time zones are data, though Python keeps them in files.
    "zoneinfo",
    # Libraries that compute and do nothing else.
    "cronsim", "cryptography", "markdown_it",
}  # fmt: skip
"""What the words and the story may stand on. What is not here reads a clock, a disk, a network or dice."""

CLOCKS = {"now", "utcnow", "today"}
DOORS = {"open", "input", "print", "eval", "exec", "__import__", "breakpoint"}


NAMED_OTHERWISE = {"markdown_it_py": "markdown_it"}
"""Packages that are imported by another name than they are installed by."""


def modules_of(requirements: list[str]) -> set[str]:
    """What is imported of what is required: `ruamel.yaml>=0.18` is `ruamel`."""
    names = (re.split(r"[^\w.-]", requirement)[0] for requirement in requirements)
    modules = {name.replace("-", "_").partition(".")[0] for name in names}
    return {NAMED_OTHERWISE.get(module, module) for module in modules} - {"backstay"}


CORE = modules_of(PROJECT["project"]["dependencies"])
OPTIONAL: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
EXTRAS = modules_of([one for extra, needed in OPTIONAL.items() if extra not in ("demo", "dev") for one in needed])
"""What comes with an extra, and may be missing."""
EVERYTHING = CORE | modules_of([one for needed in OPTIONAL.values() for one in needed])

MOST_LINES, MOST_FUNCTION_LINES, MOST_PARAMETERS = 600, 60, 6
VAGUE_CLASSES = ("Manager", "Helper", "Helpers", "Util", "Utils", "Handler", "Processor")
VAGUE_MODULES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers", "handlers"}
REASON = re.compile(r"# house: \S+ \S+ \S+")


@dataclass(frozen=True)
class Module:
    path: Path
    """From the root of the repository."""
    source: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @property
    def chapter(self) -> str:
        """`facts` for `src/backstay/facts/chain.py`; empty outside the package."""
        parts = self.path.with_suffix("").parts
        return parts[2] if parts[:2] == ("src", "backstay") else ""

    def at(self, node: ast.stmt | ast.expr, words: str) -> str:
        return f"{self.path}:{node.lineno}: {words}"


Law = Callable[[Module], Iterator[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


# ── purity ───────────────────────────────────────────────────────────────────────────────────────


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module]
    return []


def the_story_imports_only_what_computes(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree) if module.chapter in PURE else ():
        for name in imported(node):
            if isinstance(node, ast.ImportFrom) and name == "pathlib":
                impure = [alias.name for alias in node.names if not alias.name.startswith("Pure")]
                if impure:
                    yield module.at(node, f"pathlib.{impure[0]} touches the disk")
            elif name.partition(".")[0] not in ALLOWED | {"backstay"} and name not in ALLOWED:
                assert isinstance(node, ast.stmt)
                yield module.at(node, f"{name} in the pure core")


def the_story_reads_no_clock_and_opens_nothing(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree) if module.chapter in PURE else ():
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Attribute(attr=name, value=ast.Name("datetime" | "date" | "dt")) if name in CLOCKS:
                    yield module.at(node, f"{name}() reads a clock; take the moment as an argument")
                case ast.Name(id=name) if name in DOORS:
                    yield module.at(node, f"{name}() in the pure core")
                case _:
                    pass


def the_story_is_made_of_frozen_values(module: Module) -> Iterator[str]:
    for node in ast.walk(module.tree) if module.chapter in PURE else ():
        if isinstance(node, ast.ClassDef):
            for decorator in node.decorator_list:
                text = ast.unparse(decorator)
                if text.startswith("dataclass") and not {"frozen=True", "slots=True"} <= set(
                    re.split(r"[(), ]+", text)
                ):
                    yield module.at(node, f"{node.name} is not frozen and slotted")


# ── sizes and names ──────────────────────────────────────────────────────────────────────────────


def a_file_is_a_room_not_a_hall(module: Module) -> Iterator[str]:
    lines = module.source.splitlines()
    if len(lines) > MOST_LINES and not any(REASON.match(line) for line in lines):
        yield f"{module.path}:1: {len(lines)} lines, more than {MOST_LINES}"


def a_function_fits_on_a_screen(module: Module) -> Iterator[str]:
    lines = module.source.splitlines()
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            head = lines[node.lineno - 1 : node.body[0].lineno]
            if any(REASON.search(line) for line in head):
                continue
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_FUNCTION_LINES:
                yield module.at(node.body[0], f"{node.name} has {length} lines, more than {MOST_FUNCTION_LINES}")
            given = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            count = len([name for name in given if name not in ("self", "cls")])
            # A test takes its fixtures as parameters; how many it needs is no one's interface.
            if count > MOST_PARAMETERS and not node.name.startswith("test_"):
                yield module.at(node.body[0], f"{node.name} has {count} parameters, more than {MOST_PARAMETERS}")


def names_say_what_things_are(module: Module) -> Iterator[str]:
    if module.path.stem in VAGUE_MODULES or module.path.parent.name in VAGUE_MODULES:
        yield f"{module.path}:1: {module.path.stem}: say what is in it"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(VAGUE_CLASSES):
            yield module.at(node, f"{node.name}: say what it is")


def a_module_begins_by_saying_what_it_is(module: Module) -> Iterator[str]:
    if module.source.strip() and not ast.get_docstring(module.tree):
        yield f"{module.path}:1: no docstring"


# ── care ─────────────────────────────────────────────────────────────────────────────────────────


def what_is_swallowed_has_a_reason(module: Module) -> Iterator[str]:
    for number, line in enumerate(module.source.splitlines(), 1):
        found = re.search(r"# noqa:[^#]*\bBLE001\b(.*)", line)
        if found and len(found.group(1).split()) < 3:
            yield f"{module.path}:{number}: a broad except without its reason, `… BLE001 - why`"


def extras_are_imported_where_they_are_needed(module: Module) -> Iterator[str]:
    """At the top of a module they would make everybody who imports it need them."""
    if module.chapter in ("", "adapters", "web"):
        return
    for node in module.tree.body:
        for name in imported(node):
            if name.partition(".")[0] in EXTRAS:
                yield module.at(node, f"{name} comes with an extra: import it where it is used")


def no_test_mocks_or_sleeps(module: Module) -> Iterator[str]:
    """The loops that wait for a condition live in `fix_*.py`."""
    if module.path.parts[0] != "tests" or module.path.stem.startswith("fix_"):
        return
    for node in ast.walk(module.tree):
        for name in imported(node):
            if name in ("unittest.mock", "mock", "flexmock", "pytest_mock"):
                assert isinstance(node, ast.stmt)
                yield module.at(node, f"{name}: write a twin that keeps the contract")
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep", "asyncio.sleep"):
            yield module.at(node, "sleeps: wait for the condition (fix_waiting.until), or pass the time in")


def what_is_imported_is_declared(module: Module) -> Iterator[str]:
    """In pyproject.toml; not merely there because something else brought it."""
    inside = module.path.parts[:2] == ("src", "backstay")
    ours = {path.stem for path in (ROOT / "tests").glob("*.py")} | {"backstay", "catalytic", *_beside(module)}
    declared = (CORE | EXTRAS if inside else EVERYTHING) | set(sys.stdlib_module_names) | ours
    for node in ast.walk(module.tree):
        for name in imported(node):
            if name.partition(".")[0] not in declared | {"_typeshed"}:
                assert isinstance(node, ast.stmt)
                yield module.at(node, f"{name} is not declared in pyproject.toml")


def _beside(module: Module) -> set[str]:
    return {path.stem for path in (ROOT / module.path).parent.glob("*") if module.path.parts[0] in ("bench", "scripts")}


LAWS: list[Law] = [
    the_story_imports_only_what_computes,
    the_story_reads_no_clock_and_opens_nothing,
    the_story_is_made_of_frozen_values,
    a_file_is_a_room_not_a_hall,
    a_function_fits_on_a_screen,
    names_say_what_things_are,
    a_module_begins_by_saying_what_it_is,
    what_is_swallowed_has_a_reason,
    extras_are_imported_where_they_are_needed,
    no_test_mocks_or_sleeps,
    what_is_imported_is_declared,
]


# ── the laws, kept ───────────────────────────────────────────────────────────────────────────────


def modules() -> list[Module]:
    folders = ("src", "tests", "examples", "bench", "scripts")
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Module(path.relative_to(ROOT), path.read_text()) for path in paths]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_house_keeps(law: Law) -> None:
    breaches = [breach for module in modules() for breach in law(module)]
    assert not breaches, "\n" + "\n".join(breaches)


def test_what_is_required_is_used() -> None:
    used = {name.partition(".")[0] for module in modules() for node in ast.walk(module.tree) for name in imported(node)}
    # Extras may be for what is yet to come; everybody installs the core.
    assert CORE - used == set()


def test_every_folder_is_a_package() -> None:
    """Without `__init__.py` import-linter does not see it, and the order of layers is not checked."""
    folders = {path.parent for path in (ROOT / "src/backstay").rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_law_has_something_to_look_at() -> None:
    seen = {module.chapter for module in modules()}
    assert {"values", "errors", "plan", "facts", "machine", "review"} <= PURE
    assert {"values", "errors", "plan", "facts"} <= seen
    assert not PURE & {"ports", "processes", "vault", "adapters", "engine", "config", "app", "cli"}
    assert {module.path.parts[0] for module in modules()} >= {"src", "tests"}


BLOCKED = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {extras!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
import backstay.cli
"""


def test_the_command_line_starts_where_no_extra_is_installed() -> None:
    program = BLOCKED.format(extras=EXTRAS)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr


# ── the laws, broken ─────────────────────────────────────────────────────────────────────────────

DOC = '"""What it is."""\n'
STORY = Path("src/backstay/facts/chain.py")
WORLD = Path("src/backstay/engine.py")
TEST = Path("tests/story/test_facts.py")
LONG = "def long():\n" + "    x = 1\n" * 60


BROKEN = [
    (LAWS[0], STORY, "import time", "time in the pure core"),
    (LAWS[0], STORY, "def f():\n    from os import path", "os in the pure core"),
    (LAWS[0], STORY, "import urllib.request", "urllib.request in the pure core"),
    (LAWS[0], STORY, "from pathlib import Path", "pathlib.Path touches the disk"),
    (LAWS[1], STORY, "datetime.now(UTC)", "now() reads a clock; take the moment as an argument"),
    (LAWS[1], STORY, "with open('x') as f: ...", "open() in the pure core"),
    (LAWS[2], STORY, "@dataclass\nclass Fact: ...", "Fact is not frozen and slotted"),
    (LAWS[2], STORY, "@dataclass(frozen=True)\nclass Fact: ...", "Fact is not frozen and slotted"),
    (LAWS[3], WORLD, "x = 1\n" * 601, "601 lines, more than 600"),
    (LAWS[4], WORLD, LONG, "long has 61 lines, more than 60"),
    (LAWS[4], WORLD, "def f(a, b, c, *, d, e, f, g): ...", "f has 7 parameters, more than 6"),
    (LAWS[5], WORLD, "class BackupManager: ...", "BackupManager: say what it is"),
    (LAWS[5], Path("src/backstay/vault/utils.py"), "", "utils: say what is in it"),
    (LAWS[6], WORLD, "x = 1", "no docstring"),
    (LAWS[7], WORLD, "except Exception:  # noqa: BLE001", "a broad except without its reason"),
    (LAWS[8], WORLD, "import psycopg", "psycopg comes with an extra: import it where it is used"),
    (LAWS[9], TEST, "from unittest.mock import patch", "unittest.mock: write a twin that keeps the contract"),
    (LAWS[9], TEST, "time.sleep(1)", "sleeps: wait for the condition"),
    (LAWS[10], WORLD, "import requests", "requests is not declared in pyproject.toml"),
    (LAWS[10], WORLD, "def f():\n    import hypothesis", "hypothesis is not declared in pyproject.toml"),
]


@pytest.mark.parametrize(
    ("law", "path", "source", "said"), BROKEN, ids=[f"{n}-{row[0].__name__}" for n, row in enumerate(BROKEN)]
)
def test_a_law_finds_its_breach(law: Law, path: Path, source: str, said: str) -> None:
    (breach,) = law(Module(path, source))
    assert said in breach
    assert breach.startswith(f"{path}:")


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\nfrom pathlib import PurePosixPath\nfrom urllib.parse import quote",
        "def f(now):\n    return now.date()",
        "@dataclass(frozen=True, slots=True)\nclass Fact: ...",
        "# house: a table of the standard, kept whole\n" + "x = 1\n" * 601,
        LONG.replace("():", "():  # house: one row for each fact"),
        "class Point:\n    def f(self, a, b, c, d, e, f): ...",
        "except Exception:  # noqa: BLE001 - told to whoever waits",
        "def f():\n    import psycopg",
    ],
    ids=range(8),
)
def test_a_law_lets_pass_what_is_right(source: str) -> None:
    module = Module(STORY if "psycopg" not in source else WORLD, DOC + dedent(source))
    kept = LAWS if "except" not in source else [what_is_swallowed_has_a_reason]  # the line alone is no module
    assert [breach for law in kept for breach in law(module)] == []

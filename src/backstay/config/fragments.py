"""One tree from several texts: a plan, what it extends, and the built-in scenarios.

`extends:` names files whose text the plan is laid over: mappings are merged key by key, anything else is replaced.
Every node keeps the place in its own file. A fragment may extend others; a circle is a problem. The built-in scenarios
lie under everything, so that a plan changes one by writing only what differs.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backstay.config.nodes import Entries, Items, Node, Problem, Text, say_path
from backstay.config.reading import BUILT_IN
from backstay.config.spelling import quoted
from backstay.config.syntax import Unreadable, compose, decoded

MOST_FRAGMENTS = 20
SCENARIOS_PACKAGE = "backstay.scenarios"

Opener = Callable[[Path], bytes]


@dataclass(frozen=True, slots=True)
class Whole:
    """A plan's tree with everything it extends, before the built-in scenarios."""

    root: Node
    extended: bool


def whole(text: str, name: str, problems: list[Problem], read: Opener) -> Whole:
    """Compose `text` and what it extends. Raises Unreadable where the plan's own text is no YAML."""
    root = compose(text, name, problems)
    if not isinstance(root, Entries) or "extends" not in root.entries:
        return Whole(root, extended=False)
    return Whole(_laid_over_fragments(root, Path(name), (Path(name).resolve(),), problems, read), extended=True)


def _laid_over_fragments(
    root: Entries, file: Path, above: tuple[Path, ...], problems: list[Problem], read: Opener
) -> Entries:
    under: Entries | None = None
    for node in _extended(root):
        fragment = _fragment(node, file, above, problems, read)
        if fragment is not None:
            under = fragment if under is None else _laid_over(fragment, under)
    return root if under is None else _laid_over(root, under)


def _extended(root: Entries) -> tuple[Text, ...]:
    _, node = root.entries.get("extends", (None, None))
    nodes = node.items if isinstance(node, Items) else (node,)
    return tuple(n for n in nodes if isinstance(n, Text) and not n.is_empty)


def _fragment(node: Text, file: Path, above: tuple[Path, ...], problems: list[Problem], read: Opener) -> Entries | None:
    """The tree of one fragment with what it extends itself, or None after noting why there is none."""

    def wrong(message: str) -> None:
        problems.append(Problem(node.place.file, node.place.line, node.place.column, say_path(("extends",)), message))

    path = file.parent / node.text
    if path.resolve() in above:
        return wrong(f"{quoted(node.text)} extends itself in a circle")
    if len(above) > MOST_FRAGMENTS:
        return wrong(f"more than {MOST_FRAGMENTS} files extend each other")
    try:
        root = compose(decoded(read(path), str(path)), str(path), problems)
    except OSError as error:
        return wrong(f"{quoted(node.text)} cannot be read: {(error.strerror or 'no such file').lower()}")
    except Unreadable as error:
        problems.append(error.problem)
        return None
    if not isinstance(root, Entries):
        return wrong(f"{quoted(node.text)} holds no `key: value` lines")
    return _laid_over_fragments(root, path, (*above, path.resolve()), problems, read)


def _laid_over(top: Entries, under: Entries) -> Entries:
    """Key by key; where both have a mapping, they are merged; else `top` wins."""
    made = dict(under.entries)
    for name, (key, value) in top.entries.items():
        below = under.entries.get(name)
        if below is not None and isinstance(value, Entries) and isinstance(below[1], Entries):
            made[name] = key, _laid_over(value, below[1])
        else:
            made[name] = key, value
    return Entries(top.place, made)


# ── built-in scenarios ───────────────────────────────────────────────────────────────────────────


def with_built_in(root: Entries) -> Entries:
    """The plan's tree over the scenarios that come with Backstay."""
    here = root.entries.get("scenarios")
    own = here[1] if here is not None else Entries(root.place, {})
    if not isinstance(own, Entries):
        return root  # a problem, noted when `scenarios` is read
    under: dict[str, tuple[Text, Node]] = {}
    for name in built_in_names():
        tree = _built_in(name)
        under[name] = Text(tree.place, name, plain=True), tree
    key = here[0] if here is not None else Text(root.place, "scenarios", plain=True)
    merged = _laid_over(own, Entries(own.place, under))
    return Entries(root.place, {**root.entries, "scenarios": (key, merged)})


def built_in_names() -> tuple[str, ...]:
    """The names of the scenarios that come with Backstay."""
    from importlib import resources

    files = (entry.name for entry in resources.files(SCENARIOS_PACKAGE).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in files if name.endswith(".yaml")))


_TREES: dict[str, Entries] = {}


def _built_in(name: str) -> Entries:
    if name not in _TREES:
        from importlib import resources

        text = resources.files(SCENARIOS_PACKAGE).joinpath(f"{name}.yaml").read_text("utf-8")
        problems: list[Problem] = []
        tree = compose(text, f"{BUILT_IN}{name}.yaml", problems)
        assert isinstance(tree, Entries), f"the built-in scenario {name} is no mapping"
        assert not problems, f"the built-in scenario {name}: {problems[0]}"
        _TREES[name] = tree
    return _TREES[name]


# ── one file ─────────────────────────────────────────────────────────────────────────────────────


def as_one_file(root: Node) -> bytes:
    """A merged tree as one file (JSON, which is YAML too), the same on every machine: what a run keeps of a plan that
    extends others."""
    return (json.dumps(plain(root, ("extends",)), indent=1, ensure_ascii=False) + "\n").encode()


def plain(node: Node, without: tuple[str, ...] = ()) -> Any:
    """The tree as plain values. Only an unquoted text can be a number, true, false or nothing."""
    match node:
        case Entries():
            return {name: plain(value) for name, (_, value) in node.entries.items() if name not in without}
        case Items():
            return [plain(item) for item in node.items]
        case Text(text=text, plain=False):
            return text
        case Text() if node.is_empty:
            return None
        case Text(text="true" | "false" as word):
            return word == "true"
        case Text(text=text):
            return int(text) if re.fullmatch(r"-?(0|[1-9]\d{0,15})", text) else text

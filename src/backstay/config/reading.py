"""What is gathered while a plan is read: problems, names that are declared, names that are mentioned.

Reading never stops at a problem. A form that cannot make its value says why and gives BAD; who holds it takes the
default, or leaves the thing out. Names are compared only when everything was read, so that the order of the file does
not matter, and a component whose own text is broken still counts as declared.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from backstay.config.nodes import Entries, Items, Node, Path, Place, Problem, Text, say_path
from backstay.config.spelling import quoted, suggest
from backstay.plan import Ref

BUILT_IN: Final = "built-in:"
"""How the name of a file begins that comes with Backstay."""


MOST_SUGGESTED = 100
"""How many unknown names get a suggestion: a plan with more has another problem, and comparing costs time."""


class Bad(Enum):
    BAD = "could not be read; the problem was noted"


BAD: Final = Bad.BAD


class Named(Enum):
    """Kinds of things that a plan declares by name and mentions elsewhere. The value is the word for people."""

    COMPONENT = "component"
    SITE = "site"
    VAULT = "vault"
    PERSON = "person"
    ROLE = "role"
    CHECK = "smoke check"
    SCENARIO = "scenario"
    AUDIENCE = "audience"
    PROCESS = "process"
    ENDPOINT = "endpoint"


WHERE_DECLARED = {
    Named.COMPONENT: "components",
    Named.SITE: "sites",
    Named.VAULT: "vaults",
    Named.PERSON: "people",
    Named.ROLE: "roles",
    Named.CHECK: "smoke",
    Named.SCENARIO: "scenarios",
    Named.AUDIENCE: "communication",
    Named.PROCESS: "sites.*.processes",
    Named.ENDPOINT: "sites",
}


@dataclass(frozen=True, slots=True)
class Mention:
    kind: Named
    name: str
    path: Path
    place: Place


@dataclass(frozen=True, slots=True)
class RefSeen:
    """A `${…}` and where it stands."""

    ref: Ref
    path: Path
    place: Place


@dataclass(slots=True)
class Reading:
    """The notebook of one reading. Mutable, and gone when the plan is made."""

    problems: list[Problem] = field(default_factory=list[Problem])
    declared: dict[Named, dict[str, str]] = field(default_factory=dict[Named, dict[str, str]])
    """Per kind: each name, and what sort of thing it is (`postgres` for a component)."""
    mentions: list[Mention] = field(default_factory=list[Mention])
    refs: dict[Path, list[RefSeen]] = field(default_factory=dict[Path, list[RefSeen]])
    """Each under its path and every path above it: a step asks for its own, and there may be thousands of steps."""
    spelled: dict[Path, str] = field(default_factory=dict[Path, str])
    """Misspelled keys: the path with the right spelling, and what is written. Below one, paths are spelled right."""
    meant: dict[Path, str] = field(default_factory=dict[Path, str])
    """The other way round: the path as it is written, and the key that was meant."""
    at_fault: set[Path] = field(default_factory=set[Path])
    """Every path with a problem at it or below it."""
    instead: Place = Place("", 1, 1)
    """Where a problem is shown that a built-in scenario has with this plan: people cannot edit what is built in."""

    def problem(self, place: Place, path: Path, message: str) -> None:
        self.at_fault.update(path[:depth] for depth in range(len(path) + 1))
        place = self.instead if place.file.startswith(BUILT_IN) else place
        self.problems.append(Problem(place.file, place.line, place.column, say_path(path), message))

    def place_of(self, root: Node, path: Path) -> Place:
        """Of the node at `path`, or of the nearest one above it that was written."""
        node = root
        for depth, part in enumerate(path):
            name = self.spelled.get(path[: depth + 1], part)
            match node, name:
                case Entries(), str() if name in node.entries:
                    node = node.entries[name][1]
                case Items(), int() if name < len(node.items):
                    node = node.items[name]
                case _:
                    break
        return node.place

    def is_sound(self, path: Path) -> bool:
        """Whether no problem was found at `path` or below it."""
        return path not in self.at_fault

    def declare(self, kind: Named, name: str, sort: str = "") -> None:
        self.declared.setdefault(kind, {})[name] = sort

    def known(self, kind: Named) -> dict[str, str]:
        return self.declared.get(kind, {})

    def refs_under(self, path: Path) -> list[RefSeen]:
        return self.refs.get(path, [])

    def compare_names(self) -> None:
        """Every name that is mentioned and not declared is a problem."""
        endings: dict[tuple[Named, str], str] = {}
        for mention in self.mentions:
            known, which = self.known(mention.kind), (mention.kind, mention.name)
            if mention.name in known:
                continue
            if which not in endings:
                nothing = f": none is declared under `{WHERE_DECLARED[mention.kind]}:`"
                tired = len(endings) >= MOST_SUGGESTED
                endings[which] = "" if tired else suggest(mention.name, known) or nothing
            said = f"there is no {mention.kind.value} {quoted(mention.name)}"
            self.problem(mention.place, mention.path, said + endings[which])


@dataclass(frozen=True, slots=True)
class At:
    """A node, the path to it, and the notebook."""

    reading: Reading
    node: Node
    path: Path

    def wrong(self, message: str) -> None:
        self.reading.problem(self.node.place, self.path, message)

    def into(self, part: str | int, node: Node, *, written: str | None = None) -> "At":
        """The same one level down. `written`: how the key is spelled in the file, where that differs."""
        path = (*self.path, part)
        if written is not None and written != part:
            self.reading.spelled[path] = written
            self.reading.meant[*self.path, written] = str(part)
        return At(self.reading, node, path)

    def mention(self, kind: Named, name: str) -> None:
        self.reading.mentions.append(Mention(kind, name, self.path, self.node.place))

    def saw(self, ref: Ref) -> None:
        seen = RefSeen(ref, self.path, self.node.place)
        for depth in range(len(self.path) + 1):
            self.reading.refs.setdefault(self.path[:depth], []).append(seen)

    @property
    def shape(self) -> str:
        match self.node:
            case Text() if self.node.is_empty:
                return "nothing"
            case Text():
                return "a text"
            case Items():
                return "a list"
            case Entries():
                return "a mapping"

"""What is gathered while a plan is read: problems, names that are declared, names that are mentioned.

Reading never stops at a problem. A form that cannot make its value says why and gives BAD; who holds it takes the
default, or leaves the thing out. Names are compared only when everything was read, so that the order of the file does
not matter, and a component whose own text is broken still counts as declared.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from backstay.config.nodes import Entries, Items, Node, Path, Place, Problem, Text, say_path
from backstay.config.spelling import quoted, suggest
from backstay.plan import Ref

BUILT_IN: Final = "built-in:"
"""How the name of a file begins that comes with Backstay."""


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
    refs: list[RefSeen] = field(default_factory=list[RefSeen])
    instead: Place = Place("", 1, 1)
    """Where a problem is shown that a built-in scenario has with this plan: people cannot edit what is built in."""

    def problem(self, place: Place, path: Path, message: str) -> None:
        place = self.instead if place.file.startswith(BUILT_IN) else place
        self.problems.append(Problem(place.file, place.line, place.column, say_path(path), message))

    def declare(self, kind: Named, name: str, sort: str = "") -> None:
        self.declared.setdefault(kind, {})[name] = sort

    def known(self, kind: Named) -> dict[str, str]:
        return self.declared.get(kind, {})

    def refs_under(self, path: Path) -> Iterator[RefSeen]:
        return (seen for seen in self.refs if seen.path[: len(path)] == path)

    def compare_names(self) -> None:
        """Every name that is mentioned and not declared is a problem."""
        for mention in self.mentions:
            known = self.known(mention.kind)
            if mention.name not in known:
                said = f"there is no {mention.kind.value} {quoted(mention.name)}"
                end = suggest(mention.name, known) or f": none is declared under `{WHERE_DECLARED[mention.kind]}:`"
                self.problem(mention.place, mention.path, said + end)


@dataclass(frozen=True, slots=True)
class At:
    """A node, the path to it, and the notebook."""

    reading: Reading
    node: Node
    path: Path

    def wrong(self, message: str) -> None:
        self.reading.problem(self.node.place, self.path, message)

    def into(self, part: str | int, node: Node) -> "At":
        return At(self.reading, node, (*self.path, part))

    def mention(self, kind: Named, name: str) -> None:
        self.reading.mentions.append(Mention(kind, name, self.path, self.node.place))

    def saw(self, ref: Ref) -> None:
        self.reading.refs.append(RefSeen(ref, self.path, self.node.place))

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

"""Forms: what may stand at one place of a plan. A form reads a node, gives a JSON Schema, and names itself for people.

This is the declaration from which three things are made: the reader, `backstay plan schema` and
`docs/reference/plan-file.md`. Sections of the plan (`sections/`) put forms together; `tables` holds the form of a
mapping with fixed keys.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from backstay.config import grammar
from backstay.config.nodes import Entries, Items, Node, Text, clipped
from backstay.config.reading import BAD, At, Bad, Named
from backstay.config.spelling import nearest, quoted
from backstay.plan import Space, Template
from backstay.values import LONGEST_NAME, is_name, listed

S = TypeVar("S")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Schema = dict[str, Any]


class Form(ABC, Generic[T_co]):
    """One kind of value. `says` completes "must be …"."""

    says: str
    takes_nothing: bool = False
    """Whether an empty value means something here."""

    @abstractmethod
    def read(self, at: At) -> T_co | Bad:
        """The value, or BAD after noting why. Never raises for what is written in a plan."""

    @abstractmethod
    def schema(self) -> Schema: ...

    def inner(self) -> Iterator["Form[Any]"]:
        """The forms that this one is made of."""
        return iter(())


def refuse(form: Form[Any], at: At) -> Bad:
    """Note that something of the wrong shape stands here."""
    at.wrong(f"must be {form.says}, not {at.shape}")
    return BAD


@dataclass(frozen=True)
class Word(Form[T]):
    """A text with a grammar of its own."""

    says: str
    parse: Callable[[str], T]
    """Raises ValueError with a sentence for people."""
    pattern: str = ""
    types: tuple[str, ...] = ("string",)

    def read(self, at: At) -> T | Bad:
        if not isinstance(at.node, Text) or at.node.is_empty:
            return refuse(self, at)
        try:
            return self.parse(at.node.text)
        except ValueError as error:
            at.wrong(str(error))
            return BAD

    def schema(self) -> Schema:
        types: str | list[str] = self.types[0] if len(self.types) == 1 else list(self.types)
        return {"type": types, **({"pattern": self.pattern} if self.pattern else {})}


@dataclass(frozen=True)
class Flag(Form[bool]):
    says: str = "true or false"

    def read(self, at: At) -> bool | Bad:
        match at.node:
            case Text(text="true" | "True" | "TRUE", plain=True):
                return True
            case Text(text="false" | "False" | "FALSE", plain=True):
                return False
            case Text(text="yes" | "no" | "on" | "off" as said, plain=True):
                at.wrong(f"{quoted(said)} is a text: write `{'true' if said in ('yes', 'on') else 'false'}`")
                return BAD
            case _:
                return refuse(self, at)

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice(Form[T]):
    """One of a few words."""

    words: Mapping[str, T]

    @property
    def says(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return listed((f"`{word}`" for word in self.words), "or")

    def read(self, at: At) -> T | Bad:
        if not isinstance(at.node, Text) or at.node.is_empty:
            return refuse(self, at)
        said = at.node.text
        if said in self.words:
            return self.words[said]
        near = nearest(said, self.words)
        at.wrong(f"{quoted(said)} is not {self.says}" + (f"; did you mean `{near}`?" if near else ""))
        return BAD

    def schema(self) -> Schema:
        return {"enum": list(self.words)}


ENDPOINT_NAME = r"[a-z][a-z0-9_]*"


def a_name(text: str) -> str:
    """A name as values.NAME has it. Raises ValueError with a name that would do."""
    if is_name(text):
        return text
    wish = "-".join("".join(c if c.isascii() and c.isalnum() else " " for c in text.lower()).split())[:LONGEST_NAME]
    wish = wish.strip("-")
    meant = f"; did you mean `{wish}`?" if is_name(wish) else ""
    raise ValueError(f"{quoted(text)} is not a name: small letters, digits and single hyphens{meant}")


NAME_PATTERN = f"^(?=.{{1,{LONGEST_NAME}}}$)[a-z][a-z0-9]*(-[a-z0-9]+)*$"


@dataclass(frozen=True)
class NameOf(Form[str]):
    """The name of something that is declared elsewhere in the plan."""

    kind: Named

    @property
    def says(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return f"the name of a {self.kind.value}" if self.kind is not Named.AUDIENCE else "the name of an audience"

    def read(self, at: At) -> str | Bad:
        if not isinstance(at.node, Text) or at.node.is_empty:
            return refuse(self, at)
        at.mention(self.kind, at.node.text)
        return at.node.text

    def schema(self) -> Schema:
        return {"type": "string"}


SECRETS = frozenset({Space.ENV, Space.FILE})
"""What may be named anywhere."""
ON_SITE = SECRETS | {Space.SITE, Space.RUN}
IN_FLOW = ON_SITE | {Space.SAVED}
IN_STEP = ON_SITE | {Space.STEPS}


@dataclass(frozen=True)
class Worded(Form[Template]):
    """A text in which `${…}` may stand, of the namespaces that mean something here."""

    says: str = "a text"
    spaces: frozenset[Space] = SECRETS
    check: Callable[[Template], str | None] = field(default=lambda _: None)
    """What is wrong with a template of the right syntax, if anything is."""

    def read(self, at: At) -> Template | Bad:
        if not isinstance(at.node, Text) or at.node.is_empty:
            return refuse(self, at)
        try:
            made = grammar.template(at.node.text, in_flow=Space.SAVED in self.spaces)
        except ValueError as error:
            at.wrong(str(error))
            return BAD
        good = True
        for ref in made.refs():
            at.saw(ref)
            if ref.space not in self.spaces:
                allowed = ", ".join(f"`{s.value}`" for s in Space if s in self.spaces)
                at.wrong(f"`{clipped(str(ref))}` means nothing here; what may be named: {allowed}")
                good = False
            elif ref.space is Space.SITE:
                at.mention(Named.ENDPOINT, ref.path)
        if good and (why := self.check(made)) is not None:
            at.wrong(why)
            good = False
        return made if good else BAD

    def schema(self) -> Schema:
        return {"type": ["string", "number"]}


# ── several ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ListOf(Form[tuple[T, ...]]):
    """A list. What is wrong in one item is noted, and the others are read."""

    item: Form[T]
    at_least: int = 0
    or_one: bool = False
    """One alone may be written without the brackets."""
    as_: str = ""

    @property
    def says(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.as_ or f"a list, each {self.item.says}"

    def read(self, at: At) -> tuple[T, ...] | Bad:
        if not isinstance(at.node, Items):
            if self.or_one and not (isinstance(at.node, Text) and at.node.is_empty):
                one = self.item.read(at)
                return BAD if isinstance(one, Bad) else (one,)
            return refuse(self, at)
        if len(at.node.items) < self.at_least:
            at.wrong(f"is an empty list: write at least {'one' if self.at_least == 1 else self.at_least}")
            return BAD
        made = [self.item.read(at.into(number, node)) for number, node in enumerate(at.node.items)]
        good = tuple(item for item in made if not isinstance(item, Bad))
        return good if len(good) == len(made) or self.at_least == 0 else BAD

    def schema(self) -> Schema:
        several: Schema = {"type": "array", "items": self.item.schema()}
        if self.at_least:
            several["minItems"] = self.at_least
        return {"anyOf": [several, self.item.schema()]} if self.or_one else several

    def inner(self) -> Iterator[Form[Any]]:
        yield self.item


@dataclass(frozen=True)
class MapOf(Form[Mapping[str, T]]):
    """Names to values. `declares` makes the names known to the rest of the plan, `names` says they are known there."""

    value: Form[T]
    says: str
    declares: Named | None = None
    sort: Callable[[Node], str] = lambda _: ""
    """What sort of thing a declared name stands for, told from its node: the node may have problems."""
    names: Named | None = None
    key: Callable[[str], str] = a_name
    """Raises ValueError for what cannot be a key."""
    at_least: int = 0
    pattern: str = NAME_PATTERN

    def read(self, at: At) -> Mapping[str, T] | Bad:
        if not isinstance(at.node, Entries):
            return refuse(self, at)
        if len(at.node.entries) < self.at_least:
            at.wrong(f"is empty: write {self.says}")
            return BAD
        made: dict[str, T] = {}
        for name, (key, node) in at.node.entries.items():
            self._note_name(at.into(name, key), name, node)
            value = self.value.read(at.into(name, node))
            if not isinstance(value, Bad):
                made[name] = value
        return made

    def _note_name(self, at: At, name: str, value: Node) -> None:
        if self.names is not None:
            at.mention(self.names, name)
            return
        try:
            self.key(name)
        except ValueError as error:
            at.wrong(str(error))
        if self.declares is not None:
            at.reading.declare(self.declares, name, self.sort(value))

    def schema(self) -> Schema:
        made: Schema = {"type": "object", "additionalProperties": self.value.schema()}
        if self.pattern:
            made["propertyNames"] = {"pattern": self.pattern}
        if self.at_least:
            made["minProperties"] = self.at_least
        return made

    def inner(self) -> Iterator[Form[Any]]:
        yield self.value


@dataclass(frozen=True)
class Either(Form[T]):
    """A short way to write something (a text or a list) beside the full one (a mapping)."""

    says: str
    text: Form[T] | None = None
    items: Form[T] | None = None
    entries: Form[T] | None = None

    def read(self, at: At) -> T | Bad:
        match at.node:
            case Text() if not at.node.is_empty and self.text is not None:
                return self.text.read(at)
            case Items() if self.items is not None:
                return self.items.read(at)
            case Entries() if self.entries is not None:
                return self.entries.read(at)
            case _:
                return refuse(self, at)

    def schema(self) -> Schema:
        return {"anyOf": [form.schema() for form in self.inner()]}

    def inner(self) -> Iterator[Form[Any]]:
        return (form for form in (self.text, self.items, self.entries) if form is not None)


@dataclass(frozen=True)
class Made(Form[T], Generic[S, T]):
    """A form whose value is made into something else, which may be refused."""

    form: Form[S]
    make: Callable[[At, S], "T | Bad"]
    as_: str = ""

    @property
    def says(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.as_ or self.form.says

    def read(self, at: At) -> T | Bad:
        value = self.form.read(at)
        return BAD if isinstance(value, Bad) else self.make(at, value)

    def schema(self) -> Schema:
        return self.form.schema()

    def inner(self) -> Iterator[Form[Any]]:
        yield self.form


@dataclass(frozen=True)
class Placed(Generic[T]):
    """A value and where it was written."""

    value: T
    at: At


@dataclass(frozen=True)
class WithPlace(Form[Placed[T | Bad]]):
    """A form that keeps the place, for checks that come when more was read; also of what could not be read."""

    form: Form[T]

    @property
    def says(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.form.says

    def read(self, at: At) -> Placed[T | Bad]:
        return Placed(self.form.read(at), at)

    def schema(self) -> Schema:
        return self.form.schema()

    def inner(self) -> Iterator[Form[Any]]:
        yield self.form

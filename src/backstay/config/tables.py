"""The form of a mapping with fixed keys. Each key is declared once: name, form, default, help, example.

A misspelled key that is near to a known one is one problem, and its value is read as if it had been spelled right:
then everything below it is checked too, and nothing else is called missing because of one letter.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, cast

from backstay.config.forms import Form, Schema, refuse
from backstay.config.nodes import Entries, Node, Text
from backstay.config.reading import BAD, At, Bad, Named
from backstay.config.spelling import nearest, quoted
from backstay.values import listed

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Missing:
    """No default: the key has to be there."""


REQUIRED: Final = Missing()


@dataclass(frozen=True)
class Key(Generic[T]):
    name: str
    form: Form[T]
    help: str
    example: str
    """The value as it is written in YAML."""
    default: T | Missing
    default_says: str


def required(name: str, form: Form[T], help: str, example: str) -> Key[T]:
    return Key(name, form, help, example, REQUIRED, "")


def optional(name: str, form: Form[T], help: str, example: str, says: str = "") -> Key[T | None]:
    """May be left out; `says` tells what that means."""
    return Key(name, cast("Form[T | None]", form), help, example, None, says)


def default(name: str, form: Form[T], value: T, help: str, example: str, says: str) -> Key[T]:
    """Has a value when it is left out; `says` tells which."""
    return Key(name, form, help, example, value, says)


class _Unbuildable(Exception):
    """A required key has no value; the problem was noted."""


@dataclass(frozen=True)
class Fields:
    """What was read from one mapping, by key."""

    at: At
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    places: dict[str, At] = field(default_factory=dict[str, At])

    def __getitem__(self, key: Key[T]) -> T:
        value = self.values.get(key.name, BAD)
        if not isinstance(value, Bad):
            return cast("T", value)
        if isinstance(key.default, Missing):
            raise _Unbuildable
        return key.default

    def given(self, key: Key[Any]) -> bool:
        """Whether the key was written, readable or not."""
        return key.name in self.places

    def sound(self, key: Key[Any]) -> bool:
        """Whether the key was written and could be read."""
        return not isinstance(self.values.get(key.name, BAD), Bad)

    def spot(self, key: Key[Any]) -> At:
        """Where the key's value stands, or the mapping in which it is missing."""
        return self.places.get(key.name, self.at)

    @property
    def name(self) -> str:
        """What the mapping stands under: the name of a component, a vault, a person."""
        return str(self.at.path[-1]) if self.at.path else ""


@dataclass(frozen=True)
class OneOf:
    """Exactly one of these keys has to be written. `what` completes "says … "."""

    what: str
    keys: tuple[Key[Any], ...]

    def names(self) -> list[str]:
        return [key.name for key in self.keys]


@dataclass(frozen=True)
class Table(Form[T_co]):
    """A mapping with fixed keys, built into a value."""

    title: str
    """`component`: the name of its chapter in the reference and of its definition in the schema."""
    says: str
    about: str
    keys: tuple[Key[Any], ...]
    build: Callable[[Fields], T_co]
    one_of: OneOf | None = None
    others: Form[Any] | None = None
    """The form of keys that are not declared. None: they are problems."""
    others_named: Callable[[str], str] | None = None
    others_about: str = ""
    others_declare: Named | None = None

    def all_keys(self) -> tuple[Key[Any], ...]:
        return (*self.one_of.keys, *self.keys) if self.one_of else self.keys

    def read(self, at: At) -> T_co | Bad:
        if not isinstance(at.node, Entries):
            return refuse(self, at)
        fields = Fields(at)
        written = self._written(at, at.node)
        others: dict[str, Any] = {}
        for key in self.all_keys():
            if key.name in written:
                name, node = written.pop(key.name)
                fields.places[key.name] = at.into(key.name, node, written=name)
                fields.values[key.name] = self._value(key, fields.places[key.name])
            elif isinstance(key.default, Missing) and not (self.one_of and key in self.one_of.keys):
                at.wrong(f"`{key.name}` is missing: {key.help}")
        for name, (_, node) in written.items():
            if self.others is not None and not isinstance(value := self.others.read(at.into(name, node)), Bad):
                others[name] = value
        fields.values[""] = others
        chosen = self._exactly_one(at, fields)
        try:
            return self.build(fields) if chosen else BAD
        except _Unbuildable:
            return BAD

    def _value(self, key: Key[Any], at: At) -> Any:
        if not (isinstance(at.node, Text) and at.node.is_empty) or key.form.takes_nothing:
            return key.form.read(at)
        end = "" if isinstance(key.default, Missing) else ", or take the line out"
        at.wrong(f"is empty: write {key.form.says}{end}")
        return BAD

    def _written(self, at: At, node: Entries) -> dict[str, tuple[str, Node]]:
        """Declared key (or free name) to the key as it was written, and its value."""
        known = {key.name for key in self.all_keys()}
        found = {name: (name, value) for name, (_, value) in node.entries.items() if name in known}
        for name, (key_node, value) in node.entries.items():
            if name in known:
                continue
            here = At(at.reading, key_node, (*at.path, name))
            near = nearest(name, known - found.keys(), cutoff=0.8 if self.others else 0.65)
            if near is not None:
                here.wrong(f"unknown key {quoted(name)}; did you mean `{near}`?")
                found[near] = name, value
            elif self.others is not None:
                found[name] = self._other(here, name), value
                if self.others_declare is not None:
                    at.reading.declare(self.others_declare, name)
            elif " " in name and isinstance(value, Text) and value.is_empty:
                here.wrong(f"{quoted(name)} is no key: in {{ }} a text with a comma needs quotes")
            else:
                here.wrong(f"unknown key {quoted(name)}; the keys of {self.says}: {', '.join(self._names())}")
        return found

    def _other(self, here: At, name: str) -> str:
        try:
            return self.others_named(name) if self.others_named else name
        except ValueError as error:
            here.wrong(str(error))
            return name

    def _names(self) -> list[str]:
        return [key.name for key in self.all_keys()]

    def _exactly_one(self, at: At, fields: Fields) -> bool:
        if self.one_of is None:
            return True
        given = [key for key in self.one_of.keys if fields.given(key)]
        if len(given) == 1:
            return fields.sound(given[0])
        names = listed((f"`{name}`" for name in self.one_of.names()), "or")
        if given:
            at.wrong(f"says {self.one_of.what} {len(given)} times: {listed(f'`{k.name}`' for k in given)}; keep one")
        else:
            at.wrong(f"does not say {self.one_of.what}: one of {names}")
        return False

    def schema(self) -> Schema:
        return {"$ref": f"#/$defs/{self.title}"}

    def definition(self, *, whole: bool) -> Schema:
        """What `schema` refers to. Not `whole`: another file may hold the rest of it, so nothing is missing."""
        made: Schema = {"type": "object", "description": self.about}
        made["properties"] = {key.name: {**key.form.schema(), "description": key.help} for key in self.all_keys()}
        made["additionalProperties"] = self.others.schema() if self.others is not None else False
        needed = [key.name for key in self.keys if isinstance(key.default, Missing)]
        if needed and whole:
            made["required"] = needed
        if self.one_of is not None:
            singles: list[Schema] = [{"required": [name]} for name in self.one_of.names()]
            made["oneOf"] = singles if whole else [*singles, {"not": {"anyOf": singles}}]
        return made

    def inner(self) -> Iterator[Form[Any]]:
        for key in self.all_keys():
            yield key.form
        if self.others is not None:
            yield self.others


def others_of(fields: Fields) -> dict[str, Any]:
    """The keys of a table that were not declared, with what was read."""
    return cast("dict[str, Any]", fields.values[""])


def tables_in(form: Form[Any], *, enter: Callable[[Form[Any]], bool] = lambda _: True) -> Iterator[Table[Any]]:
    """Every table that a form is made of, each once: outer before inner, in the order of their keys. What is in a form
    that `enter` does not like is passed over."""
    seen: dict[str, Table[Any]] = {}
    waiting: list[Form[Any]] = [form]
    while waiting:
        here = waiting.pop(0)
        if isinstance(here, Table):
            if here.title in seen:
                continue
            seen[here.title] = here
        if enter(here):
            waiting[:0] = here.inner()
    return iter(seen.values())


@dataclass(frozen=True)
class Likeliest(Form[T_co]):
    """One of several tables: the one that knows most of the keys that were written."""

    says: str
    tables: tuple[Table[T_co], ...]

    def read(self, at: At) -> T_co | Bad:
        if not isinstance(at.node, Entries):
            return refuse(self, at)
        written = list(at.node.entries)
        if not any(_near_any(name, _deciding(table)) for table in self.tables for name in written):
            names = dict.fromkeys(name for table in self.tables for name in _deciding(table))
            at.wrong(f"must be {self.says}: write one of {listed((f'`{name}`' for name in names), 'or')}")
            return BAD
        return max(self.tables, key=lambda table: _likeness(table, written)).read(at)

    def schema(self) -> Schema:
        return {"anyOf": [table.schema() for table in self.tables]}

    def inner(self) -> Iterator[Form[Any]]:
        return iter(self.tables)


def _likeness(table: Table[Any], written: list[str]) -> float:
    known, deciding = [key.name for key in table.all_keys()], _deciding(table)
    return sum(
        (1.0 if name in known else 0.5 if nearest(name, known) else 0.0) + (0.75 if name in deciding else 0.0)
        for name in written[:20]
    )


def _deciding(table: Table[Any]) -> list[str]:
    """The keys by which a table is known."""
    return table.one_of.names() if table.one_of else [k.name for k in table.keys if k.default is REQUIRED]


def _near_any(name: str, names: list[str]) -> bool:
    return name in names or nearest(name, names) is not None

"""The stored form of values, spelled out by hand: a Shape writes a value as JSON and reads it back.

No reflection, no pickles: a name in a stored fact changes only when somebody changes it here or in `stored.py`.
Reading is strict, because what is read may be damaged or hostile: `read` raises ValueError with the reason.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Generic, TypeVar, cast

from backstay.values import from_stamp, stamp

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    write: Callable[[T], Any]
    read: Callable[[Any], T]


def _exactly(kind: type, name: str) -> Callable[[Any], Any]:
    def read(stored: Any) -> Any:
        if type(stored) is not kind:
            raise ValueError(f"{name} expected, found {type(stored).__name__}")
        return stored

    return read


def _same(value: Any) -> Any:
    return value


text: Shape[Any] = Shape(_same, _exactly(str, "a text"))
"""Any str, the NewTypes of `values` too."""
whole: Shape[int] = Shape(_same, _exactly(int, "a whole number"))
flag: Shape[bool] = Shape(_same, _exactly(bool, "true or false"))


def _read_moment(stored: Any) -> datetime:
    return from_stamp(text.read(stored))


def _write_span(value: timedelta) -> int:
    return round(value / timedelta(microseconds=1))


def _read_span(stored: Any) -> timedelta:
    try:
        return timedelta(microseconds=whole.read(stored))
    except OverflowError:
        raise ValueError(f"a span of {stored} microseconds") from None


moment: Shape[datetime] = Shape(stamp, _read_moment)
"""RFC 3339, UTC, microseconds."""
span: Shape[timedelta] = Shape(_write_span, _read_span)
"""Whole microseconds."""


def choice(kind: type[E]) -> Shape[E]:
    """An Enum by its value."""

    def write(value: E) -> Any:
        return value.value

    return Shape(write, kind)


def one_of(*words: str) -> Shape[Any]:
    """A Literal."""

    def read(stored: Any) -> str:
        if stored not in words:
            raise ValueError(f"one of {', '.join(words)} expected, found {stored!r}")
        return stored

    return Shape(_same, read)


def maybe(inner: Shape[T]) -> Shape[T | None]:
    """Or nothing. A key that is missing reads as nothing, so a field can be added to an old fact."""

    def write(value: T | None) -> Any:
        return None if value is None else inner.write(value)

    def read(stored: Any) -> T | None:
        return None if stored is None else inner.read(stored)

    return Shape(write, read)


def many(inner: Shape[T]) -> Shape[tuple[T, ...]]:
    def write(values: tuple[T, ...]) -> Any:
        return [inner.write(value) for value in values]

    def read(stored: Any) -> tuple[T, ...]:
        return tuple(inner.read(item) for item in _exactly(list, "a list")(stored))

    return Shape(write, read)


def mapping(inner: Shape[T]) -> Shape[Mapping[Any, T]]:
    """Texts to values. Written in the order of keys."""

    def write(values: Mapping[Any, T]) -> Any:
        return {key: inner.write(values[key]) for key in sorted(values)}

    def read(stored: Any) -> Mapping[Any, T]:
        found = cast("dict[str, Any]", _exactly(dict, "a mapping")(stored))
        return {key: inner.read(value) for key, value in found.items()}

    return Shape(write, read)


def or_none_yet(inner: Shape[Mapping[Any, T]]) -> Shape[Mapping[Any, T]]:
    """A mapping that was added to an old fact: a key that is missing reads as an empty one."""

    def read(stored: Any) -> Mapping[Any, T]:
        return {} if stored is None else inner.read(stored)

    return Shape(inner.write, read)


def record(kind: Callable[..., T], /, **fields: "Shape[Any] | tuple[str, Shape[Any]]") -> Shape[T]:
    """A dataclass: stored key to the shape of the attribute of that name, or to (attribute, shape)."""
    spelled = {key: (key, to) if isinstance(to, Shape) else to for key, to in fields.items()}

    def write(value: T) -> Any:
        return {key: shape.write(getattr(value, attribute)) for key, (attribute, shape) in spelled.items()}

    def read(stored: Any) -> T:
        found = cast("dict[str, Any]", _exactly(dict, "a record")(stored))
        if strange := found.keys() - spelled.keys():
            raise ValueError(f"unknown keys: {', '.join(sorted(strange))}")
        values: dict[str, Any] = {}
        for key, (attribute, shape) in spelled.items():
            try:
                values[attribute] = shape.read(found.get(key))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{key}: {error}") from None
        return kind(**values)

    return Shape(write, read)


def tagged(tag: str, kinds: Mapping[str, tuple[type, Shape[Any]]]) -> Shape[Any]:
    """A union: each member is a record that carries its name under `tag`."""
    names = {kind: name for name, (kind, _) in kinds.items()}

    def write(value: Any) -> Any:
        name = names[type(value)]
        return {tag: name, **kinds[name][1].write(value)}

    def read(stored: Any) -> Any:
        found = dict(cast("dict[str, Any]", _exactly(dict, "a record")(stored)))
        name = found.pop(tag, None)
        if not isinstance(name, str) or name not in kinds:
            raise ValueError(f"unknown {tag} {name!r}")
        return kinds[name][1].read(found)

    return Shape(write, read)

"""Small things written and read exactly: canonical JSON, fixed integers, lengths that are checked before they are used.

What is read here was sealed by somebody with a key, but may still be damaged, cut short or hostile. Every reader
raises ValueError with the reason and never allocates by a length that it has not checked; the caller knows the
name of the object and turns it into Damaged.
"""

import json
import re
import struct
from typing import Any, cast

from backstay.facts import canonical

_HEX = re.compile(r"(?:[0-9a-f]{2})*\Z")


def pack_json(value: Any) -> bytes:
    """Canonical JSON: one text for one value."""
    return canonical(value).encode("ascii")


def unpack_json(data: bytes) -> dict[str, Any]:
    """The inverse, and only that: any other spelling of the same value is refused, so a changed byte cannot hide."""
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    found = cast("dict[str, Any]", value)
    try:
        same = pack_json(found) == data
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise ValueError("not in canonical form")
    return found


def text_of(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key}: a text expected")
    return value


def texts_of(found: dict[str, Any], key: str) -> tuple[str, ...]:
    value: Any = found.get(key)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in cast("list[Any]", value)):
        raise ValueError(f"{key}: a list of texts expected")
    return tuple(cast("list[str]", value))


def whole_of(found: dict[str, Any], key: str) -> int:
    value = found.get(key)
    if type(value) is not int or value < 0:
        raise ValueError(f"{key}: a whole number expected")
    return value


def hex_of(found: dict[str, Any], key: str, size: int | None = None) -> bytes:
    """Bytes that were written as small hexadecimal digits. `size` in bytes."""
    return unhex(text_of(found, key), size)


def unhex(text: str, size: int | None = None) -> bytes:
    if _HEX.match(text) is None or (size is not None and len(text) != 2 * size):
        raise ValueError("hexadecimal digits expected")
    return bytes.fromhex(text)


class Cursor:
    """Reads a buffer front to back; every length is checked against what is left."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        if size < 0 or size > len(self._data) - self._at:
            raise ValueError("cut short")
        self._at += size
        return self._data[self._at - size : self._at]

    def unpack(self, shape: struct.Struct) -> tuple[Any, ...]:
        return shape.unpack(self.take(shape.size))

    def column(self, count: int, code: str) -> tuple[int, ...]:
        """`count` little-endian integers of one width (`H`, `I` or `Q`)."""
        return struct.unpack(f"<{count}{code}", self.take(count * struct.calcsize(f"<{code}")))

    def name(self) -> bytes:
        """A text of up to 65,535 bytes behind its length."""
        return self.take(struct.unpack("<H", self.take(2))[0])

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def finish(self) -> None:
        if self.left:
            raise ValueError(f"{self.left} bytes too many")


def named(data: bytes) -> bytes:
    """The inverse of `Cursor.name`."""
    return struct.pack("<H", len(data)) + data

"""`$.path` in a JSON answer, by names and places in lists: `$.token`, `$.items[0].name`, `$['odd name']`."""

import json
import re
from decimal import Decimal
from typing import Any, cast

LONGEST_VALUE = 16 << 10
"""Characters of a value that is saved: a token is shorter."""

_PART = re.compile(r"""\.([A-Za-z_][\w-]*)|\[(\d{1,6})\]|\['([^']*)'\]|\["([^"]*)"\]""")


def parts_of(path: str) -> list[str | int]:
    """The steps of a path. Raises ValueError for what is none."""
    if not path.startswith("$"):
        raise ValueError(f"{path!r} is no path into an answer: it begins with $")
    found: list[str | int] = []
    at = 1
    while at < len(path):
        part = _PART.match(path, at)
        if part is None:
            raise ValueError(f"{path!r} is no path into an answer: write it like $.user.id or $.items[0]")
        name, index, single, double = part.groups()
        found.append(
            int(index) if index is not None else next(text for text in (name, single, double) if text is not None)
        )
        at = part.end()
    return found


def parsed(body: bytes) -> Any:
    """The answer as JSON. Raises ValueError for what is not. Numbers keep every digit: an id may exceed a float."""
    try:
        return json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise ValueError("the answer is not JSON") from None  # what the parser says would show a piece of it


def value_at(answer: Any, path: str) -> str:
    """The single value at `path`, as text. Raises ValueError, naming the path and nothing of the answer."""
    found = answer
    for part in parts_of(path):
        if isinstance(part, int) and isinstance(found, list) and part < len(cast("list[Any]", found)):
            found = cast("list[Any]", found)[part]
        elif isinstance(part, str) and isinstance(found, dict) and part in found:
            found = cast("dict[str, Any]", found)[part]
        else:
            raise ValueError(f"the answer has no {path}")
    match found:
        case bool():
            text = "true" if found else "false"
        case str() | int() | Decimal():
            text = str(found)
        case _:
            raise ValueError(f"{path} in the answer is not a single value")
    if not text or len(text) > LONGEST_VALUE:
        raise ValueError(f"{path} in the answer is {'empty' if not text else 'too long'}")
    return text

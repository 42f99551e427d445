"""The corpus of plans, and a check of values against the part of JSON Schema that `config.schema` uses."""

import re
from pathlib import Path
from typing import Any, cast

PLANS = Path(__file__).parent / "story/plans"
GOOD = sorted((PLANS / "good").glob("*.yaml"))
WRONG = sorted((PLANS / "wrong").glob("*.yaml"))

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_KNOWN = {
    "$schema", "title", "description", "$defs", "$ref", "type", "enum", "pattern", "properties", "required",
    "additionalProperties", "propertyNames", "minProperties", "items", "minItems", "anyOf", "oneOf", "not",
}  # fmt: skip


def against(schema: dict[str, Any], value: Any, root: dict[str, Any] | None = None, path: str = "$") -> list[str]:
    """What JSON Schema says against a value. A keyword that is not known here is an error of the test."""
    assert set(schema) <= _KNOWN, set(schema) - _KNOWN
    root = schema if root is None else root
    if "$ref" in schema:
        return against(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root, path)
    found = _type(schema, value, path)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            good = sum(not against(one, value, root, path) for one in schema[several])
            if good == 0 or (several == "oneOf" and good > 1):
                found.append(f"{path}: {good} of {several} fit")
    if "not" in schema and not against(schema["not"], value, root, path):
        found.append(f"{path}: fits what it must not")
    if isinstance(value, dict):
        found += _object(schema, cast("dict[str, Any]", value), root, path)
    if isinstance(value, list):
        items = cast("list[Any]", value)
        if len(items) < schema.get("minItems", 0):
            found.append(f"{path}: too few items")
        for number, item in enumerate(items):
            found += against(schema.get("items", {}), item, root, f"{path}[{number}]")
    return found


def _type(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    found: list[str] = []
    if "type" in schema:
        names = cast("list[str]", schema["type"] if isinstance(schema["type"], list) else [schema["type"]])
        fits = any(isinstance(value, _TYPES[n]) and (n == "boolean" or not isinstance(value, bool)) for n in names)
        if not fits:
            found.append(f"{path}: is not {schema['type']}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path}: is none of {schema['enum']}")
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        found.append(f"{path}: does not match {schema['pattern']}")
    return found


def _object(schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any], path: str) -> list[str]:
    found = [f"{path}: {name} is missing" for name in schema.get("required", []) if name not in value]
    if len(value) < schema.get("minProperties", 0):
        found.append(f"{path}: too few keys")
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for name, inner in value.items():
        here = f"{path}.{name}"
        found += against(schema.get("propertyNames", {}), name, root, here)
        if name in known:
            found += against(known[name], inner, root, here)
        elif others is False:
            found.append(f"{here}: is not allowed")
        elif isinstance(others, dict):
            found += against(cast("dict[str, Any]", others), inner, root, here)
    return found

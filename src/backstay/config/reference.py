"""The declarations as documents: the JSON Schema for editors, and the reference page of the plan file.

Both are walked out of the same forms that read a plan, so neither can disagree with it.
"""

from collections.abc import Iterator
from typing import Any

from backstay.config.forms import Either, Form, ListOf, Made, MapOf, WithPlace
from backstay.config.fragments import built_in_names
from backstay.config.sections.whole import PLAN
from backstay.config.tables import REQUIRED, Key, Likeliest, Table, tables_in

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the plan file, for editors. What it cannot say is left to `plan check`: names,
    promises, and keys that are missing in mappings, since `extends` or a built-in scenario may hold them."""
    merged = {table.title for table in tables_in(PLAN, enter=lambda form: not isinstance(form, ListOf))}
    definitions = {table.title: table.definition(whole=table.title not in merged) for table in tables_in(PLAN)}
    root = definitions.pop(PLAN.title)
    return {"$schema": SCHEMA_DIALECT, "title": "Backstay plan", **root, "$defs": definitions}


# ── the page ─────────────────────────────────────────────────────────────────────────────────────

_BEGIN = """\
# The plan file

<!-- Generated from the declarations in `src/backstay/config`: edit those. -->

One YAML file, usually `backstay.yaml`, says what is protected, what was promised, who may decide, and how each disaster
is survived. `backstay plan check` reports every problem at once, each with its place; `backstay plan schema` gives an
editor what it needs to complete keys and mark mistakes. How durations, schedules, expectations and references are
written is in [grammars](grammars.md).

The shortest plan:

```yaml
backstay: 1
system: {name: shop}
vaults:
  local: ./vault
components:
  database:
    postgres: ${env:DATABASE_URL}
```

- **Secrets** are never written in a plan: `${env:NAME}` and `${file:PATH}` name them, and they are read only when used.
- **Paths** (vaults, data, pid files, working folders, templates) are relative to the folder of the plan file, wherever
  the plan is used from. Programs run in that folder.
- **Names** are small letters, digits and single hyphens, up to 63.
- **How long a point is kept**: a component's `keep` stands in the place of the vault's, as a whole. A vault's `lock`
  goes before both: nothing deletes a locked point, so a lock longer than every point is kept (`within`) is a problem.
- **Objectives**: what a component or a scenario does not promise, the system's `objectives` do.
- **Sharing**: `extends` lays this file over others. Mappings are merged key by key; lists and texts are replaced.
  YAML's own anchors and aliases work, its tags and `<<` do not.
"""


def reference() -> str:
    """`docs/reference/plan-file.md`, as it has to be."""
    names = ", ".join(f"`{name}`" for name in built_in_names())
    parts = [_BEGIN, *(_chapter(table) for table in tables_in(PLAN))]
    parts.append(f"## Built-in scenarios\n\n{names}: data files in `src/backstay/scenarios`, in this same form.\n")
    return "\n".join(parts)


def _chapter(table: Table[Any]) -> str:
    lines = [f"## {_heading(table)}", "", table.about, ""]
    if table.one_of is not None:
        lines += [f"Exactly one of these says {table.one_of.what}:", "", *_rows(table.one_of.keys, single=True), ""]
    if table.keys:
        lines += ["Beside it:" if table.one_of else "Keys:", "", *_rows(table.keys, single=False), ""]
    if table.others_about:
        lines += [f"Any other key is {table.others_about}.", ""]
    return "\n".join(lines)


def _heading(table: Table[Any]) -> str:
    return table.title.replace("-", " ")


def _rows(keys: tuple[Key[Any], ...], *, single: bool) -> Iterator[str]:
    yield "| key | is | without it | example |" if not single else "| key | is | example |"
    yield "|---|---|---|---|" if not single else "|---|---|---|"
    for key in keys:
        said = f"{key.help} ({_value(key.form)})"
        without = "**needed**" if key.default is REQUIRED else key.default_says or "not said"
        middle = "" if single else f" {_escaped(without)} |"
        yield f"| `{key.name}` | {_escaped(said)} |{middle} `{_escaped(key.example)}` |"


def _value(form: Form[Any]) -> str:
    """What stands there, with a link to the chapter of a table."""
    match form:
        case Table():
            return f"[{form.says}](#{form.title})"
        case ListOf():
            return form.as_ or f"list of: {_value(next(form.inner()))}"
        case MapOf():
            return f"{form.says}, each {_value(next(form.inner()))}"
        case WithPlace():
            return _value(next(form.inner()))
        case Made():
            return form.as_ or _value(next(form.inner()))
        case Likeliest():
            return " or ".join(_value(table) for table in form.tables)
        case Either():
            tables = [inner for inner in form.inner() if isinstance(inner, Table)]
            return f"{form.says}; {_value(tables[0])}" if tables else form.says
        case _:
            return form.says


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

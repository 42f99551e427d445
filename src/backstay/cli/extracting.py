"""A part of a point: the words of `backstay restore` for tables, one database, or rows, and how the answer is said."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from backstay.cli.options import Which

if TYPE_CHECKING:
    from backstay.app.extracting import Asked, Extracted
    from backstay.cli.printing import Page
    from backstay.ports import Progress


@Parameter(name="*")
@dataclass(frozen=True)
class HowWords:
    """What of the point, and what may be done where something is already."""

    delta: Annotated[bool, Parameter(negative="")] = False
    """Over what is there: write only what differs. What the point does not have stays."""

    remove: Annotated[bool, Parameter(negative="")] = False
    """With --delta: remove what the point does not have."""

    table: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Only this table, as one writes it in SQL; may be said several times. --to then names a file: SQL where it ends in
    .sql, else for pg_restore."""

    database: str | None = None
    """Only this database of the server, into a file. With --table: the database that has it."""

    where: str | None = None
    """Of the one table, only the rows for which this SQL is true. --to then names a file that ends in .sql."""

    with_references: Annotated[bool, Parameter(negative="")] = False
    """With the rows that these rows reference by foreign keys, and those that they reference."""

    with_dependents: Annotated[bool, Parameter(negative="")] = False
    """With the rows that reference these rows, and those that reference them."""

    into: str | None = None
    """Into another server, in a schema of its own: a reference to its address, like '${env:TARGET_URL}'."""

    schema: str | None = None
    """With --into: the schema, which must not exist yet. Default: restored_ and the moment of the point."""

    @property
    def part(self) -> bool:
        given = (self.table, self.database, self.where, self.into, self.schema)
        return any(given) or self.with_references or self.with_dependents


WHOLE = HowWords()


def asked(component: str, to: Path | None, which: Which, how: HowWords) -> "Asked":
    """Raises Usage."""
    from backstay.adapters.postgres.rescue import Wanted
    from backstay.app import protecting
    from backstay.app.extracting import Asked, Out
    from backstay.errors import Usage
    from backstay.plan import Template

    if how.delta or how.remove:
        raise Usage("--delta is about a folder", detail="a part of a point goes into a new file or schema")
    if not (how.table or how.database):
        raise Usage("say which part: --table, or --database", hint="see `backstay restore --help`")
    if how.schema is not None and how.into is None:
        raise Usage("--schema goes with --into")
    into = None
    if how.into is not None:
        into = reference(how.into)
    wanted = Wanted(how.table, how.where, how.with_references, how.with_dependents)
    assert into is None or isinstance(into, Template), "a reference"
    return Asked(
        component, protecting.Which(which.point, which.target()), how.database, wanted, Out(to, into, how.schema)
    )


def reference(text: str) -> "object":
    """`${env:NAME}` or `${file:PATH}`, and nothing else: an address has a password in it, and everybody on this machine
    reads command lines. Raises Usage, which does not repeat what was written."""
    import re

    from backstay.errors import Usage
    from backstay.plan import Ref, Space, Template

    found = re.fullmatch(r"\$\{(env|file):([^}]+)\}", text)
    if found is None:
        raise Usage(
            "--into takes a reference, and no address",
            detail="every user of this machine can read the words of a command",
            hint="put the address into a variable or a file, and write --into '${env:TARGET_URL}'",
        )
    return Template((Ref(Space(found[1]), found[2]),))


Screen = Callable[["Page", object, str], AbstractContextManager["Progress"]]


def take(page: "Page", words: "Asked", screen: "Screen") -> "Extracted":
    """Take it out, with a bar."""
    from backstay.app import extracting

    home = page.home()
    with screen(page, home.clock.elapsed, f"taking a part of {words.component}") as progress:
        return extracting.extract(home, words, progress)


def say(page: "Page", came: "Extracted") -> None:
    from backstay.app import reading
    from backstay.cli.printing import local, plain
    from backstay.plan import say_target
    from backstay.values import count, say_size

    home = page.home()
    counts, point = came.written.counts, came.point
    rows = f"{count(sum(counts.values()), 'row')} of {count(len(counts), 'table')}" if counts else "the whole database"
    size = f", {say_size(came.written.size_bytes)}" if came.written.size_bytes else ""
    when = f"{local(point.moment)} UTC ({point.newest_source})"
    if came.target is not None:
        when = f"{say_target(came.target)} (its log replayed)"
    page.say(f"✔ {rows} as of {when} in {came.where}{size}")
    page.say(f"  from point {point.id} in {came.vault}")
    for table, number in counts.items():
        page.say(f"  {number:>12,}  {table}", "dim")
    helped = reading.said(home)
    for line in (*helped, *came.written.next_steps):
        page.say(f"  {line}")
    page.done(
        {
            "point": plain(point),
            "vault": came.vault,
            "to": came.where,
            "rows": dict(counts),
            "size_bytes": came.written.size_bytes,
            "next": list(came.written.next_steps),
            "troubles": helped,
        }
    )

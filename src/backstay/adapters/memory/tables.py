"""A component in memory: tables with rows and moments, which can be taken, damaged, lost, restored and asked.

It is what a database looks like from where Backstay stands, and nothing more: it runs or not, it has a line of history,
it knows who holds it. Everything that happens to it is an *effect*, announced before and after through `breathe`: a law
can count effects, and kill the driver at each of them.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from backstay.errors import Damaged, NotSupported, RunBusy, SourceDown, ToolFailed
from backstay.ports import Acting, Answer, PointReader
from backstay.values import ComponentName, LineageId, RunId, digest_of, from_stamp, stamp

Breathe = Callable[[str], None]
"""Told of every effect on the world, before it (`database: stop`) and after it (`database: stop, done`). May raise: so
dies a driver in a test."""


def breathe_easy(what: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Row:
    id: int
    at: datetime
    """When it was written."""
    ref: int | None = None
    """The id of a row in another table: what `<table>_id` is in SQL."""
    text: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a component holds. Immutable: to keep a state aside is to keep the value."""

    tables: Mapping[str, tuple[Row, ...]]
    lineage: LineageId
    broken: str = ""
    """Why it does not answer even when it runs; empty: it does."""

    @property
    def newest(self) -> datetime | None:
        return max((row.at for rows in self.tables.values() for row in rows), default=None)


@dataclass(slots=True)
class MemoryComponent:
    """One component at one place, with what a restore leaves aside. Mutable: this is the world."""

    name: ComponentName
    state: State | None
    """None: there is nothing, as after `preserve`."""
    running: bool = True
    kept: dict[str, State] = field(default_factory=dict[str, State])
    """What was moved aside, by the name it was given."""
    beside: tuple[RunId, State] | None = None
    """Restored, and not yet swapped in."""
    placed_by: RunId | None = None
    """The run whose restore is in place."""
    held: tuple[RunId, int] | None = None
    """Run and epoch that acted here last."""
    effects: list[str] = field(default_factory=list[str])
    """Every effect that took place, in order."""
    breathe: Breathe = breathe_easy

    def effect(self, what: str, change: Callable[[], None]) -> None:
        """One atomic change of the world: it took place, or it did not."""
        self.breathe(f"{self.name}: {what}")
        change()
        self.effects.append(what)
        self.breathe(f"{self.name}: {what}, done")

    def hold(self, acting: Acting) -> None:
        """As a lock in the target would: whoever acts under an older lease of the same run is refused."""
        if self.held is not None and self.held[0] == acting.run and self.held[1] > acting.epoch:
            raise RunBusy(
                f"{self.name} is held under a newer lease of {acting.run}",
                detail=f"epoch {self.held[1]} there, epoch {acting.epoch} here",
            )
        self.held = (acting.run, acting.epoch)

    # ── life, and disasters ──

    def write(self, table: str, at: datetime, *, ref: int | None = None, text: str = "") -> Row:
        """The application adds a row."""
        state = self.up()
        rows = state.tables.get(table, ())
        row = Row(max((old.id for old in rows), default=0) + 1, at, ref, text)
        self.state = replace(state, tables={**state.tables, table: (*rows, row)})
        return row

    def up(self) -> State:
        """The state, of a component that answers. Raises SourceDown."""
        if self.state is None:
            raise SourceDown(f"{self.name} is not there", detail="its state was moved aside")
        if not self.running:
            raise SourceDown(f"{self.name} does not run")
        if self.state.broken:
            raise SourceDown(f"{self.name} does not answer", detail=self.state.broken)
        return self.state

    def drop(self, table: str) -> None:
        """A disaster: somebody drops a table."""
        state = self._there()
        self.state = replace(state, tables={name: rows for name, rows in state.tables.items() if name != table})

    def lose(self, table: str, keep: int = 0) -> None:
        """A disaster: all but the first `keep` rows are deleted."""
        state = self._there()
        self.state = replace(state, tables={**state.tables, table: state.tables[table][:keep]})

    def break_down(self, why: str = "invalid page in block 7") -> None:
        """A disaster: the files are damaged, and it answers no more."""
        self.state = replace(self._there(), broken=why)

    def _there(self) -> State:
        assert self.state is not None, "there is nothing to destroy"
        return self.state


# ── as bytes in a point ──────────────────────────────────────────────────────────────────────────

ABOUT = "about.json"


def written(state: State) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file of a point: one for every table."""
    yield ABOUT, json.dumps({"lineage": state.lineage, "broken": state.broken}).encode()
    for table, rows in sorted(state.tables.items()):
        lines = (json.dumps([row.id, stamp(row.at), row.ref, row.text]) for row in rows)
        yield f"tables/{table}.jsonl", "".join(line + "\n" for line in lines).encode()


def read_state(point: PointReader) -> State:
    """The inverse of `written`. Raises Damaged."""
    try:
        about = json.loads(b"".join(point.read(ABOUT)))
        tables = {
            stored.path.removeprefix("tables/").removesuffix(".jsonl"): tuple(_rows(b"".join(point.read(stored.path))))
            for stored in point.entries("tables")
            if stored.path.endswith(".jsonl")
        }
        return State(tables, LineageId(str(about["lineage"])), str(about["broken"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"the point {point.point.id} does not hold tables", detail=str(error)) from error


def _rows(data: bytes) -> Iterator[Row]:
    for line in data.decode().splitlines():
        id, at, ref, text = json.loads(line)
        yield Row(int(id), from_stamp(at), None if ref is None else int(ref), str(text))


# ── questions ────────────────────────────────────────────────────────────────────────────────────

_COUNT = re.compile(r"select count\(\*\) from (\w+)\Z")
_NEWEST = re.compile(r"select max\(\w+\) from (\w+)\Z")
_ORPHANS = re.compile(r"select count\(\*\) from (\w+) where \w+_id not in \(select id from (\w+)\)\Z")


def asked(state: State, question: str) -> Answer:
    """As much SQL as the questions of a plan need: how many rows, the newest, and rows that refer to nothing. Raises
    NotSupported for other questions, ToolFailed for a table that is not there."""
    plain = " ".join(question.lower().rstrip("; ").split())
    if found := _COUNT.match(plain):
        return len(_table(state, found[1]))
    if found := _NEWEST.match(plain):
        return max((row.at for row in _table(state, found[1])), default=None)
    if found := _ORPHANS.match(plain):
        known = {row.id for row in _table(state, found[2])}
        return sum(row.ref is not None and row.ref not in known for row in _table(state, found[1]))
    raise NotSupported("a component in memory cannot be asked that", hint="ask for count(*) or max(column)")


def _table(state: State, name: str) -> tuple[Row, ...]:
    try:
        return state.tables[name]
    except KeyError:
        raise ToolFailed(f"there is no table {name}") from None


def digest(rows: tuple[Row, ...]) -> str:
    """Equal for equal rows, whatever their order."""
    return digest_of(repr(sorted((row.id, stamp(row.at), row.ref, row.text) for row in rows)).encode())

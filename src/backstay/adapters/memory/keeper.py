"""The keeper of a component in memory: twin of the keepers of databases.

It keeps their order of things. `preserve` stops and renames; `restore` lays the point down beside, moves the old state
aside, swaps and starts: four effects, each atomic, none of them done twice. Whatever is interrupted between two of them
is finished by doing it again.
"""

import io
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

from backstay.adapters.memory.tables import MemoryComponent, State, asked, digest, read_state, written
from backstay.errors import Cancelled, TargetAlive, TargetNotEmpty
from backstay.facts import CannotTell, CheckResult, DidNot, Happened, Outcome, Rung, Sight, Succeeded, Verdict
from backstay.plan import Target
from backstay.ports import (
    Acting,
    Alive,
    Answer,
    Clock,
    Cutter,
    Entry,
    Kind,
    NotAlive,
    PointReader,
    PointWriter,
    Progress,
    Sealing,
    Taken,
    WalShelf,
    refuse_target,
    unwatched,
)
from backstay.values import LineageId, count, digest_of, stamp

Work = Literal["take", "sandbox", "preserve", "restore"]


class MemoryAnswers:
    def __init__(self, where: str, state: State) -> None:
        self.where, self._state = where, state

    def ask(self, question: str) -> Answer:
        return asked(self._state, question)

    def counts(self) -> Mapping[str, int]:
        return {table: len(rows) for table, rows in self._state.tables.items()}

    def digests(self) -> Mapping[str, str]:
        return {table: digest(rows) for table, rows in self._state.tables.items()}

    def inspect(self, tier: Literal["bytes", "sample", "full"]) -> list[CheckResult]:
        if tier == "bytes":
            return []
        broken = self._state.broken
        verdict = Verdict.FAILED if broken else Verdict.PASSED
        said = broken or f"{count(len(self._state.tables), 'table')} can be read"
        return [CheckResult("R01", Rung.RESTORE, "restore", verdict, said)]


class MemoryKeeper:
    """Keeps one MemoryComponent. `takes` says how long each kind of work lasts, by the clock."""

    kind = "memory"

    def __init__(self, component: MemoryComponent, clock: Clock, takes: Mapping[Work, timedelta] | None = None) -> None:
        self._component, self._clock, self._takes = component, clock, takes or {}

    # ── taking ──

    def take(self, into: PointWriter, progress: Progress = unwatched) -> Taken:
        began, state = self._clock.now(), self._component.up()
        entries = [
            Entry(path, Kind.FILE, 0o600, began, len(data), lambda data=data: io.BytesIO(data), Cutter.CDC_V1)
            for path, data in written(state)
        ]
        into.add(entries, progress)
        self._spend("take")
        newest = state.newest
        source = "newest row" if newest else "no rows"
        return Taken(Sealing(state.lineage, "copy", began, self._clock.now(), newest, source, {"place": "memory"}))

    def alive(self) -> Alive | NotAlive:
        component = self._component
        if component.state is None:
            return NotAlive("there is nothing")
        return Alive(f"{component.name} runs in memory") if component.running else NotAlive("it is stopped")

    # ── asking ──

    @contextmanager
    def live(self) -> Generator[MemoryAnswers]:
        yield MemoryAnswers(f"{self._component.name}, live", self._component.up())

    @contextmanager
    def sandbox(
        self,
        point: PointReader,
        folder: Path,
        progress: Progress = unwatched,
        *,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> Generator[MemoryAnswers]:
        refuse_target(self.kind, target)
        state = read_state(point)
        self._spend("sandbox")
        yield MemoryAnswers(f"{point.point.id}, restored in memory", state)

    # ── preserving ──

    def preserve(self, acting: Acting) -> Outcome:
        component, name = self._component, _aside(acting)
        component.hold(acting)
        if name not in component.kept:
            if component.state is None:
                return Succeeded(f"there is no state of {component.name} to keep", {"preserved": "nothing"})
            self._stop()
            self._spend("preserve")
            _heed(acting)
            component.effect("move aside", lambda: self._move_aside(name))
        return Succeeded(f"the state of {component.name} is kept as {name}", {"kept": name})

    def look_preserved(self, acting: Acting) -> Sight:
        name = _aside(acting)
        if name in self._component.kept:
            return Happened(f"the state of {self._component.name} is kept as {name}", {"kept": name})
        return DidNot(f"nothing is kept as {name}")

    def _stop(self) -> None:
        if self._component.running:
            self._component.effect("stop", lambda: setattr(self._component, "running", False))

    def _move_aside(self, name: str) -> None:
        assert self._component.state is not None
        self._component.kept[name] = self._component.state
        self._component.state = None

    # ── restoring ──

    def restore(
        self,
        point: PointReader,
        acting: Acting,
        *,
        beside: bool = True,
        target: Target | None = None,
        log: WalShelf | None = None,
    ) -> Outcome:
        refuse_target(self.kind, target)
        component = self._component
        component.hold(acting)
        if component.placed_by != acting.run:
            if not beside:
                self._refuse_to_overwrite()
            self._lay_down(point, acting)
            self._stop()
            _heed(acting)
            if component.state is not None:
                component.effect("move the old one aside", lambda: self._move_aside(_aside(acting, "replaced")))
            component.effect("swap", lambda: self._swap(acting))
        if not component.running:
            component.effect("start", lambda: setattr(component, "running", True))
        return Succeeded(f"{component.name} is back from {point.point.id}", self._values(acting))

    def look_restored(self, acting: Acting) -> Sight:
        component = self._component
        if component.placed_by != acting.run:
            return DidNot(f"{component.name} was not swapped by {acting.run}")
        if component.state is None:
            return CannotTell(f"{component.name} was swapped by {acting.run}, and has gone since")
        if not component.running:
            return DidNot(f"{component.name} is in place and not started")
        return Happened(f"{component.name} is in place and runs", self._values(acting))

    def _refuse_to_overwrite(self) -> None:
        if self._component.state is None:
            return
        if self._component.running:
            raise TargetAlive(
                f"will not restore over {self._component.name}: it runs", hint="stop it, or restore beside it"
            )
        raise TargetNotEmpty(f"something is already where {self._component.name} would be restored")

    def _lay_down(self, point: PointReader, acting: Acting) -> None:
        component = self._component
        if component.beside is not None and component.beside[0] == acting.run:
            return
        state = read_state(point)
        _heed(acting)
        self._spend("restore")
        acting.progress(point.point.size_bytes, point.point.size_bytes, "restoring in memory")
        # A new line of history begins: derived from run and point, so that doing it again begins the same one.
        lineage = LineageId("inc-" + digest_of(f"{acting.run}\n{point.point.id}".encode())[7:23])
        restored = replace(state, lineage=lineage)
        component.effect("restore beside", lambda: setattr(component, "beside", (acting.run, restored)))

    def _swap(self, acting: Acting) -> None:
        component = self._component
        assert component.beside is not None
        component.state, component.beside, component.placed_by = component.beside[1], None, acting.run

    def _values(self, acting: Acting) -> dict[str, str]:
        state = self._component.state
        assert state is not None
        values = {"kind": self.kind, "lineage": str(state.lineage)}
        if state.newest is not None:
            values["newest"] = stamp(state.newest)
        kept = [name for name in (_aside(acting), _aside(acting, "replaced")) if name in self._component.kept]
        return values | ({"kept": kept[0]} if kept else {})

    def _spend(self, work: Work) -> None:
        self._clock.wait(self._takes.get(work, timedelta()))


def _aside(acting: Acting, why: str = "preserved") -> str:
    return f"{why}-{acting.run}"


def _heed(acting: Acting) -> None:
    if acting.stop():
        raise Cancelled("stopped while at work on a component in memory")

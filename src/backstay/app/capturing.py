"""Capturing a preserved state: what a recovery moved aside, or any dead state, as a point that is evidence.

Preserving takes no time, whatever the size; capturing reads everything, and is done afterwards, when the system works
again. Three things keep the point from ever being recovered from: its way says that it is forensic, its hold says so,
and it lies on a line of history of its own. The hold is sealed before anything is read, under the reserved name.
"""

import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from backstay import engine
from backstay.adapters.preserved import Preserved
from backstay.app.driving import driver, new_run
from backstay.app.home import Home
from backstay.app.noting import note
from backstay.app.people import somebody
from backstay.app.protecting import LONGEST
from backstay.engine.routine import Note
from backstay.errors import Cancelled, NotSupported, SourceDown, Usage
from backstay.facts import FORENSIC, Hold, HoldPlaced, PointTaken, RoutineBegan, RoutineFailed
from backstay.history import History
from backstay.plan import Component, Mode
from backstay.ports import Acting, Progress, Sealing
from backstay.values import LineageId, PersonName, PointId, RunId, VaultName
from backstay.vault import Repository
from backstay.verbs.reading import Stoppable

Screen = Callable[[str], AbstractContextManager[Progress]]


@dataclass(frozen=True, slots=True)
class Wanted:
    component: str
    path: Path | None
    """None: what the last recovery of it moved aside."""
    reason: str
    by: str | None
    vault: str | None = None


@dataclass(frozen=True, slots=True)
class Captured:
    taken: PointTaken
    hold: Hold
    path: Path


def capture(home: Home, wanted: Wanted, screen: Screen) -> Captured:
    """Read a preserved state into a forensic point. Raises UnknownName, Usage, NotAuthorised, SourceDown where there is
    nothing, NotSupported, TargetAlive while somebody has it open, RunBusy, and what the vault raises."""
    component = home.plan.component(wanted.component)
    by = somebody(home.plan, wanted.by)
    home.adopt(by)
    path, run = (wanted.path.absolute(), None) if wanted.path else preserved(home.history(component.name), component)
    if not wanted.reason:
        raise Usage("evidence needs a reason: why is it kept?", detail="nothing was read", hint='add --reason "…"')
    state = Preserved(path, paged=component.kind in ("postgres", "sqlite"))
    name = home.plan.vault(wanted.vault).name if wanted.vault else home.plan.vaults_of(component)[0]
    capturing = _Capturing(home, component, home.vault(name), state, run, by, wanted.reason)
    with screen(f"capturing {path.name} of {component.name} into {name}") as progress:
        taken = capturing.run(progress)
    home.seal()
    assert capturing.hold is not None, "the hold comes first"
    return Captured(taken, capturing.hold, path)


def preserved(history: History, component: Component) -> tuple[Path, RunId]:
    """What the newest recovery that moved a state of it aside left there. Raises SourceDown, NotSupported."""
    found = [
        (Path(kept), run.id)
        for run in reversed(history.runs)
        for seen in run.steps
        if run.started.mode is Mode.LIVE
        and getattr(seen.step.verb, "component", None) == component.name
        and (kept := seen.values.get("kept"))
    ]
    there = [(kept, run) for kept, run in found if kept.is_absolute() and os.path.lexists(kept)]
    if there:
        return there[0]
    if found and not found[0][0].is_absolute():
        raise NotSupported(
            f"what was preserved of {component.name} is the database {found[0][0]} on its server, and no files",
            detail="nothing was read",
            hint="take it with pg_dump, and keep the dump with a component of files",
        )
    raise SourceDown(
        f"nothing that was preserved of {component.name} is there",
        detail=f"{found[0][0]} has gone" if found else "no recovery that the journal knows has moved its state aside",
        hint="name the folder or file with --from",
    )


@dataclass
class _Capturing:
    home: Home
    component: Component
    vault: Repository
    state: Preserved
    of_run: RunId | None
    by: PersonName
    reason: str
    hold: Hold | None = None

    def run(self, progress: Progress) -> PointTaken:
        home, run = self.home, new_run("capture", self.home.clock.now())
        vault = VaultName(self.vault.name)
        began = RoutineBegan(run, "capture", vault, home.plan.digest, "", home.journal.now() + LONGEST, None)

        def act(acting: Acting, noting: Note) -> PointTaken:
            return self._take(acting, noting, progress)

        end = engine.routine(driver(home), self.component.name, began, act, self._look)
        assert isinstance(end, PointTaken), "a capture that raises nothing has a point"
        return end

    def _take(self, acting: Acting, noting: Note, progress: Progress) -> PointTaken:
        clock, name = self.home.clock, self.component.name
        started, began = clock.elapsed(), clock.now()
        with self.vault.begin(name, plan=self.home.plan.digest, now=began) as writer:
            noting(writer.id)
            self._hold(writer.id)
            Stoppable(writer, acting.stop).add(self.state.entries(), progress)
            about = {"path": str(self.state.path)} | ({"run": str(self.of_run)} if self.of_run else {})
            newest = min(self.state.newest, began) if self.state.newest else None
            sealing = Sealing(
                LineageId(f"{FORENSIC}-{acting.run}"), FORENSIC, began, clock.now(), newest,
                "the newest change of a file", about,
            )  # fmt: skip
            point = writer.seal(sealing)
        said = tuple(f"left out {one}" for one in self.state.left_out)
        return PointTaken(acting.run, VaultName(self.vault.name), point, clock.elapsed() - started, said)

    def _hold(self, point: PointId) -> None:
        """Before anything is read: the point is never there without it."""
        id, now = f"h-{secrets.token_hex(4)}", self.home.clock.now()
        self.hold = Hold(id, point, self.component.name, "forensic", self.reason, self.by, now)
        self.vault.keep_hold(self.hold)
        note(self.home, self.component.name, HoldPlaced(VaultName(self.vault.name), self.hold))

    def _look(self, began: RoutineBegan) -> PointTaken | RoutineFailed:
        point = next((one for one in self.vault.points(self.component.name) if one.id == began.point), None)
        if point is not None:
            said = ("its driver ended before it was noted here",)
            return PointTaken(began.run, began.vault, point, point.ended - point.began, said)
        return RoutineFailed(began.run, Cancelled.code, "its driver ended before the capture was sealed: do it again")

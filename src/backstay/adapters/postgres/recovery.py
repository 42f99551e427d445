"""Recovery of a whole server at its site, from a physical point: beside the old one, then swapped by rename.

Theory of operation. Each step changes the world so that a look can tell whether it happened, and writes the marker
after it. A driver that dies anywhere is followed by one that begins after the last step that is written, and each step
can be done again. The order is the safety: the old data is only ever renamed; the new data gets the old's name after
it has come up by itself on a private socket, recovered to the end of the backup on a new timeline, answered, and
stopped in order.
"""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from backstay.adapters.postgres.answers import ask_within
from backstay.adapters.postgres.laying import (
    Ground,
    Physical,
    lay,
    need_room,
    refuse_new_tablespaces,
    room,
)
from backstay.adapters.postgres.layout import MARK
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.private import PrivateServer, control_data, need_server
from backstay.adapters.postgres.programs import Programs, find, hand_over
from backstay.adapters.postgres.replay import Onward, Replay, Seen
from backstay.adapters.postgres.sandbox import Recovered, look
from backstay.adapters.postgres.session import connect
from backstay.adapters.postgres.site import Marker, Site, running_on, stop_server
from backstay.adapters.postgres.spool import BUDGET_BYTES
from backstay.adapters.postgres.starting import SANDBOX, Starting
from backstay.durable import rename_durably, sync, write_durably
from backstay.errors import (
    AccessDenied,
    BackstayError,
    Cancelled,
    DiskFull,
    PointRefuted,
    TargetAlive,
    TargetNotEmpty,
)
from backstay.facts import CannotTell, DidNot, Happened, Outcome, Sight, Succeeded
from backstay.lsn import lsn, segment_name
from backstay.plan import say_target, spell
from backstay.ports import Acting, Clock, PointReader
from backstay.values import stamp

_HISTORY = re.compile(r"([0-9A-F]{8})\.history\Z")
_TAKEN = "# taken by another history of this cluster: "
_SEGMENT = re.compile(r"[0-9A-F]{24}\Z")
_MARGIN_BYTES = 16 << 20
_OURS = re.compile(r"backstay-[^/]+\Z")


def nobody(stage: str) -> None:
    """Wants to know of no stage."""


# ── preserve ─────────────────────────────────────────────────────────────────────────────────────


def preserve(site: Site, place: PostgresPlace, clock: Clock, acting: Acting) -> Outcome:
    """Stop the server, rename its data directory: as long as the stop takes, whatever the size."""
    with site.acting(acting) as (_, marker):
        kept = site.damaged(acting.run)
        how = "nothing was left to do"
        if site.restored_by() != acting.run:
            how = stop_server(site.data, place.stop_within, clock, acting.stop)
            with room(site.data, f"renaming {site.data}"):
                move_aside(site.data, kept)
            if marker is None or marker.run != acting.run:
                site.write(Marker(acting.run, acting.epoch, "preserved"))
    if not kept.exists():
        return Succeeded(f"there was nothing at {site.data} that could be kept; the server: {how}")
    return Succeeded(f"kept {site.data} as {kept.name}; the server: {how}", {"kept": str(kept)})


def look_preserved(site: Site, acting: Acting) -> Sight:
    kept = site.damaged(acting.run)
    if kept.exists():
        return Happened(f"{kept.name} is there", {"kept": str(kept)})
    return DidNot(f"there is no {kept.name}")


def move_aside(data: Path, kept: Path) -> None:
    """Raises TargetNotEmpty when both are there: somebody made new data meanwhile, and nothing of ours may hide it."""
    if data.exists():
        if kept.exists():
            raise TargetNotEmpty(f"{kept} is there already, and so is {data}", hint="move one of them away")
        rename_durably(data, kept)


# ── restore ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Recovery:
    """One restore. `run` is what people read at three in the morning."""

    site: Site
    place: PostgresPlace
    clock: Clock
    point: PointReader
    acting: Acting
    keep_old: bool = True
    reached: Callable[[str], None] = nobody
    """Told after each durable step."""
    onward: Onward | None = None
    """None: to the end of the point itself."""
    replay: Replay | None = None
    physical: Physical = field(init=False)
    starting: Starting = field(init=False)
    programs: Programs = field(init=False)
    beside: Path = field(init=False)
    kept: Path = field(init=False)
    marker: Marker = field(init=False)
    _lock: int = -1

    def __post_init__(self) -> None:
        self.physical = Physical.of(self.point.point)
        self.beside, self.kept = self.site.beside(self.acting.run), self.site.damaged(self.acting.run)
        self.starting = Starting(self.site, self.acting.run, self.physical, self.place)
        self.programs = find(self.physical.major, named=self.place.bin, near=self.starting.near())

    def run(self) -> Outcome:
        if self.acting.stop():
            raise Cancelled("stopped before the restore began")
        need_server(self.programs)
        with self.site.acting(self.acting) as (self._lock, found):
            self.marker = self._go_on_from(found)
            self._refuse_alive()
            if self.onward is not None and not self.marker.reached("recovered"):
                self.replay = self.onward.replay(self.point, self.physical, self.programs)
            if not self.marker.reached("laid"):
                self._lay()
            if not self.marker.reached("recovered"):
                self._recover()
            if not self.marker.reached("swapped"):
                self._swap()
            self._start()
            return Succeeded(self._saw(), dict(self.marker.values))

    def _saw(self) -> str:
        values = self.marker.values
        kept = f"; the old one is kept as {Path(values['kept']).name}" if values.get("kept") else ""
        gone_on = ""
        if self.onward is not None:
            how = values.get("stopped", "at the end of the log that is kept")
            gone_on = f", gone on to {say_target(self.onward.target)} ({how})"
        point = f"point {self.point.point.id}{gone_on}"
        return f"{self.site.data} holds {point}, on timeline {values['timeline']}, and is up{kept}"

    # ── before anything is touched ──

    def _go_on_from(self, found: Marker | None) -> Marker:
        """Where this run was. What other runs left beside is erased: it can be restored again, and it takes room."""
        for other in self.site.data.parent.glob(f"{self.site.data.name}.beside-*"):
            if other.is_dir() and other != self.beside:
                erase_beside(other)
        erase_unused_tablespaces(self.site, self.acting.run)
        point = str(self.point.point.id)
        if found is None or found.run != self.acting.run:
            return Marker(self.acting.run, self.acting.epoch, "none", point)
        marker = replace(found, epoch=self.acting.epoch, point=point)
        there = self.beside.exists() or self.site.restored_by() == self.acting.run
        if found.point not in ("", point) or (found.reached("laid") and not there):
            # Another point was chosen since, or the room was given up: from the beginning.
            return replace(marker, stage="laying", values={})
        return marker

    def _refuse_alive(self) -> None:
        if self.site.restored_by() == self.acting.run:
            return
        self._refuse_running()
        try:
            connect(self.place.dsn).close()
        except AccessDenied as error:
            raise _answers(self.place.site, error.detail) from None
        except BackstayError:
            return  # nobody is there, which is what we want
        raise _answers(self.place.site, "it let us in")

    def _refuse_running(self) -> None:
        if running := running_on(self.site.data):
            raise TargetAlive(
                f"will not restore over a running server at {self.site.data}",
                detail=f"process {running[0]} runs on it",
                hint="stop it, or put `preserve` before the restore",
            )

    # ── the steps ──

    def _lay(self) -> None:
        data = self.site.data
        if not self.keep_old and data.exists() and any(data.iterdir()):
            raise TargetNotEmpty(f"{data} is not empty", hint="restore beside it, which keeps what is there")
        if self.beside.exists() and not self.marker.reached("laying"):
            raise TargetNotEmpty(f"{self.beside} is there already, and is not ours", hint="move it away")
        spaces = self._spaces()
        self._erase(spaces)
        self._need_room(spaces)
        self._mark("laying")
        try:
            with room(self.beside, f"restoring to {self.beside}"):
                lay(self.point, Ground(self.beside, spaces, self.acting.stop), self.acting.progress)
                refuse_new_tablespaces(self.programs, self.beside, self.physical)
                self._occupy_timelines()
                (self.beside / "recovery.signal").touch()
                for tree in (self.beside, *spaces.values()):
                    hand_over(tree, self.starting.owner())
                sync(self.beside)
        except DiskFull:
            self._give_room_back()
            raise
        self._mark("laid")

    def _recover(self) -> None:
        """Bring it up on a private socket, see that everything is there, stop it in order."""
        # Done again after a crash, it may find recovery ended already: then nothing is replayed but its own end.
        first = (self.beside / "recovery.signal").exists()
        if not first and not self.marker.reached("replayed"):
            # It ended where it was refuted, or where nobody looked: a second start would not tell.
            self._mark("laying")
            self._lay()
            first = True
        settings = {
            "recovery_target_timeline": str(self.physical.timeline),
            "max_replication_slots": self.physical.about.get("max_replication_slots", "10"),
        }
        log = self.beside.with_name(f"{self.beside.name}.log")
        server = PrivateServer(
            self.programs, self.beside, self.starting.owner(), log, self.clock, f"backstay-{self.acting.run}"[:60],
            self.physical.superuser, settings, inherit=(self._lock,), stop_asked=self.acting.stop,
        )  # fmt: skip
        try:
            with server:
                began = self.clock.elapsed()
                ended = self._bring_up(server, first)
                seen = look(server, self.physical, self.clock.elapsed() - began)
                self._judge(seen, first)
                self._mark("replayed")
                newest = self._newest(server, ended)
        except DiskFull:
            self._give_room_back()
            raise
        with room(self.beside, "finishing the restore"):
            self._free_timelines()
            if self.place.site != SANDBOX:
                tell_the_archive(self.programs, self.beside, seen.timeline)
            # postmaster.opts too: it says how the private server was started, and not how this one is to be.
            for left in ("backup_label.old", "tablespace_map.old", "postmaster.opts"):
                (self.beside / left).unlink(missing_ok=True)
            told = {"run": self.acting.run, "point": str(self.point.point.id)}
            write_durably(self.beside / MARK, json.dumps(told).encode())
            hand_over(self.beside, self.starting.owner())
            log.unlink(missing_ok=True)
        values = {
            "newest": stamp(newest) if newest else "",
            "lineage": f"pg-{self.physical.system}-{seen.timeline}",
            "timeline": str(seen.timeline),
            "data": str(self.site.data),
            "target": spell(self.onward.target) if self.onward is not None else "",
            "stopped": ended.stopped if ended is not None else "",
        }
        if self.replay is not None and first:
            replayed = max(0, lsn(seen.reached) - lsn(self.physical.stop_lsn))
            values |= {"replayed_bytes": str(replayed), "replay_ms": str(round(seen.took / timedelta(milliseconds=1)))}
        self._mark("recovered", values)

    def _bring_up(self, server: PrivateServer, first: bool) -> Seen | None:
        """What the server said of its replay; None: there was no target to replay to."""
        if self.replay is None:
            server.start(self.place.start_within)
            return None
        if not first:
            # It was seen to have reached the target in an earlier life.
            server.start(self.place.start_within)
            return self.replay.seen(server.text())
        spool = self.beside.with_name(f"{self.beside.name}.spool")
        with self.replay.feeding(spool, self.starting.owner(), server, durable=True) as feed:
            return self.replay.bring_up(server, feed, self.place.start_within)

    def _judge(self, seen: Recovered, first: bool) -> None:
        if seen.still_recovering or (first and lsn(seen.reached) < lsn(self.physical.stop_lsn)):
            raise PointRefuted(
                f"recovery ended at {seen.reached}, before the end of the backup at {self.physical.stop_lsn}"
            )
        followed = self.physical.timeline if self.replay is None else self.replay.route.timeline
        if seen.timeline <= followed:
            raise PointRefuted(f"the restored server is on timeline {seen.timeline}, not on a new one")
        if self.replay is not None and first:
            self.replay.judge(lsn(seen.reached))

    def _newest(self, server: PrivateServer, ended: Seen | None) -> datetime | None:
        if self.place.newest is not None:
            with suppress(BackstayError), server.connect(self.physical.database) as db:
                answer = ask_within(db, self.place.newest, self.place.patience)
                if isinstance(answer, datetime):
                    return answer
        # With nothing committed since, the newest is what the point has.
        return ended.newest if ended is not None and ended.newest is not None else self.point.point.newest

    def _swap(self) -> None:
        """Two renames. A crash between them leaves no data directory at all, and never two."""
        with room(self.site.data, f"swapping {self.site.data}"):
            if self.site.restored_by() != self.acting.run:
                self._refuse_running()  # somebody may have started it while we restored
                move_aside(self.site.data, self.kept)
                self.reached("moved aside")
            if self.beside.exists():
                rename_durably(self.beside, self.site.data)
        self._mark("swapped", {"kept": str(self.kept) if self.kept.exists() else ""})

    def _start(self) -> None:
        if not running_on(self.site.data):
            self.starting.start(self.programs, self.point, self.acting.stop)
        elif self.marker.reached("started"):
            return
        lines = (self.site.data / "postmaster.pid").read_text().splitlines()
        self._mark("started", {"port": lines[3].strip() if len(lines) > 3 else ""})

    # ── parts ──

    def _mark(self, stage: str, values: Mapping[str, str] | None = None) -> None:
        merged = {**self.marker.values, **(values or {})}
        self.marker = replace(self.marker, stage=stage, values={key: value for key, value in merged.items() if value})
        self.site.write(self.marker)
        self.reached(stage)

    def _spaces(self) -> dict[int, Path]:
        """A folder inside the old location: on the same disk, and nothing that is there is touched. Elsewhere (a drill,
        another host) beside the data: the old locations are somebody else's."""
        found: dict[int, Path] = {}
        for space in self.physical.tablespaces:
            location = Path(space.location)
            base = location.parent if _OURS.match(location.name) else location
            elsewhere = self.site.tablespaces(self.acting.run) / str(space.oid)
            found[space.oid] = base / f"backstay-{self.acting.run}" if self.starting.at_home else elsewhere
        return found

    def _need_room(self, spaces: Mapping[int, Path]) -> None:
        """Disk by disk, before anything is written."""
        sizes = {space.oid: space.size_bytes for space in self.physical.tablespaces}
        parent = self.site.data.parent
        segment_bytes = int(self.physical.about.get("wal_segment_bytes", 16 << 20))
        # Recovery writes WAL of its own before it may recycle any.
        spool = 0 if self.replay is None else min(self.replay.route.log_bytes, BUDGET_BYTES) + 2 * segment_bytes
        needed = {parent: self.point.point.size_bytes - sum(sizes.values()) + 2 * segment_bytes + spool + _MARGIN_BYTES}
        with room(parent, "looking for room"):
            for oid, folder in spaces.items():
                base = next(above for above in folder.parents if above.is_dir())
                disk = next((seen for seen in needed if seen.stat().st_dev == base.stat().st_dev), base)
                needed[disk] = needed.get(disk, 0) + sizes[oid]
        for folder, size_bytes in needed.items():
            need_room(folder, size_bytes, f"point {self.point.point.id}")

    def _occupy_timelines(self) -> None:
        """Numbers that this cluster has used already are not used again: two histories under one number would be taken
        for one, by servers and by the lineage of points. Recovery takes the first number without a history file."""
        followed = self.physical.timeline if self.replay is None else self.replay.route.timeline
        used = {followed} if self.replay is None else {followed, *self.replay.timelines()}
        for folder in (self.kept, self.site.data):
            with suppress(OSError):
                names = [path.name for path in (folder / "pg_wal").iterdir()]
                used |= {int(found[1], 16) for name in names if (found := _HISTORY.match(name))}
            with suppress(BackstayError, ValueError, KeyError):
                if (folder / "global" / "pg_control").exists():
                    used.add(int(control_data(self.programs, folder)["Latest checkpoint's TimeLineID"]))
        for number in range(followed + 1, max(used) + 1):
            path = self.beside / "pg_wal" / f"{number:08X}.history"
            if not path.exists():
                path.write_text(f"{_TAKEN}{number}\n")

    def _free_timelines(self) -> None:
        """The number of the new timeline is chosen: what kept the others taken goes, before anybody takes it for a
        history. An archive, or a receiver, would keep it as one."""
        for path in (self.beside / "pg_wal").glob("*.history"):
            with suppress(OSError, UnicodeDecodeError):
                if path.read_text().startswith(_TAKEN):
                    path.unlink()

    def _erase(self, spaces: Mapping[int, Path]) -> None:
        for folder in (*spaces.values(), self.site.tablespaces(self.acting.run)):
            if folder.exists():
                shutil.rmtree(folder)
        if self.beside.exists():
            erase_beside(self.beside)

    def _give_room_back(self) -> None:
        """Take away what we wrote, and leave the old data as it was."""
        with suppress(OSError):
            self._erase(self._spaces())
            self.beside.with_name(f"{self.beside.name}.log").unlink(missing_ok=True)
            self.site.write(replace(self.marker, stage="laying", values={}))


def erase_beside(beside: Path) -> None:
    """A restore that was never swapped in, with its tablespaces: those that bear the same run in their name."""
    run = beside.name.rpartition(".beside-")[2]
    with suppress(FileNotFoundError):
        for link in (beside / "pg_tblspc").iterdir():
            if link.is_symlink() and link.readlink().name == f"backstay-{run}":
                shutil.rmtree(link.readlink(), ignore_errors=True)
    shutil.rmtree(beside)


def erase_unused_tablespaces(site: Site, run: str) -> None:
    """Folders of tablespaces beside the data, of drills that are over: no cluster that is still here links to them."""
    clusters = [path for path in site.data.parent.glob(f"{site.data.name}*") if (path / "pg_tblspc").is_dir()]
    used = {link.readlink().parent for path in clusters for link in (path / "pg_tblspc").iterdir() if link.is_symlink()}
    for folder in site.data.parent.glob(f"{site.data.name}.tablespaces-*"):
        if folder not in used and folder != site.tablespaces(run):
            shutil.rmtree(folder)


def tell_the_archive(programs: Programs, data: Path, timeline: int) -> None:
    """What a server with an archive would have handed over, had it not recovered without one: the history of its new
    timeline first of all, and segments of it that are complete. A number that nobody has used yet overwrites nothing.

    Where the server archives, it finds them as ready (`pg_wal/archive_status`, manual 26.3.1); else they do no harm.
    """
    status = data / "pg_wal" / "archive_status"
    names = [path.name for path in (data / "pg_wal").glob(f"{timeline:08X}*") if path.is_file()]
    told = control_data(programs, data)
    size = int(told["Bytes per WAL segment"])
    current = segment_name(timeline, lsn(told["Latest checkpoint location"]) // size, size)
    for name in names:
        if name.endswith(".history") or (_SEGMENT.match(name) and name < current):
            (status / f"{name}.ready").touch(0o600)
    sync(status)


def _answers(site: str, how: str) -> TargetAlive:
    return TargetAlive(
        f"a database server still answers at the address of this component on {site}",
        detail=how,
        hint="stop it, or put `preserve` before the restore",
    )


def look_restored(site: Site, acting: Acting) -> Sight:
    """By the marker, by the mark inside the data directory, and by who runs on it."""
    try:
        marker = site.marker()
    except BackstayError as error:
        return CannotTell(str(error))
    if marker is None or marker.run != acting.run:
        return DidNot(f"no restore of run {acting.run} has begun at {site.data}")
    if not marker.reached("started"):
        return DidNot(f"the restore came as far as: {marker.stage}")
    if site.restored_by() != acting.run:
        return DidNot(f"{site.data} does not hold what this run restored")
    if not (running := running_on(site.data)):
        return DidNot(f"{site.data} was restored, and no server runs on it")
    return Happened(f"{site.data} was restored by this run, and process {running[0]} runs on it", dict(marker.values))

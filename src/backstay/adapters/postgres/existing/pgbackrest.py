"""A pgBackRest repository, read by the `pgbackrest` program itself: it knows its formats, ciphers and stores.

Theory of operation. `restore --type=none` writes the files of one set and nothing that starts a recovery; then each WAL
segment from the set's start to its stop is asked for with `archive-get`, before any server runs: the sandbox has no
network, and a `restore_command` that fails for another reason than absence would make PostgreSQL promote too early
(exit status 1 alone is "not there", see docs/explanation/postgres.md). Two things pgBackRest itself is happy with are
found this way: a set whose WAL is gone restores without a word, and `verify` (2.45) exits 0 whatever it has found.

Whatever the operator's configuration says about *his* server is overruled on the command line, above all `pg1-path`:
a restore must never go where the configuration points. Nothing is taken from the environment (`PGBACKREST_…`).
"""

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from backstay.adapters.postgres.laying import Ground, LaysItself
from backstay.adapters.postgres.private import control_data
from backstay.adapters.postgres.programs import find
from backstay.adapters.postgres.said import Said, failed, passed, unknown
from backstay.adapters.postgres.tools import Lines
from backstay.durable import sync
from backstay.errors import (
    AccessDenied,
    BackstayError,
    Cancelled,
    Damaged,
    DiskFull,
    NoSuchPoint,
    NotSupported,
    StoreUnreachable,
    ToolFailed,
)
from backstay.facts import Point
from backstay.plan import PgBackRest
from backstay.ports import Progress, Stored
from backstay.processes import Command, run
from backstay.values import ComponentName, Digest, LineageId, PointId, count

_ASK = timedelta(minutes=10)
_LABEL = re.compile(r"\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?\Z")
_SEGMENT = re.compile(r"[0-9A-F]{24}\Z")
_PERCENT = re.compile(rb"restore file .*?, (\d+(?:\.\d+)?)%\)")
_STATUS = re.compile(r"backup: (\S+), status: ([^,]+),")
_CONFIGURATION = "# Made by Backstay: this cluster had its configuration outside its data directory.\n"
_DAMAGE = re.compile(r"\[0(?:26|28|29|42|55)\]|checksum|unexpected eof|is truncated", re.IGNORECASE)
"""ChecksumError, FileInvalidError, FormatError, FileReadError and FileMissingError of pgBackRest's error.yaml."""


@dataclass(frozen=True, slots=True)
class Repository:
    """One stanza, and how its program is called."""

    settings: PgBackRest
    scratch: Path
    """For lock files: the program's own would stand in its operator's way."""

    @property
    def name(self) -> str:
        return f"pgbackrest:{self.settings.stanza}"

    def call(
        self,
        command: str,
        *words: str,
        data: Path | None = None,
        within: timedelta | None = None,
        accept: tuple[int, ...] = (0,),
    ) -> Command:
        """`data`: the folder that stands for the server, whatever the configuration says."""
        where = self.settings.where
        found = ["--no-config", f"--repo1-path={where}"] if where is not None and Path(where).is_dir() else []
        found += [f"--config={where}"] if where is not None and not found else []
        found += [f"--stanza={self.settings.stanza}", "--log-level-file=off", "--log-level-stderr=error"]
        if data is not None:
            found += [f"--pg1-path={data}", "--reset-pg1-host", f"--lock-path={self.scratch / 'pgbackrest-locks'}"]
        argv = ("pgbackrest", command, *found, *words)
        return Command(argv, within, accept=frozenset(accept), keep_bytes=64 << 20)

    def sets(self, component: ComponentName, database: str) -> list[Point]:
        """Every set, oldest first. Raises ToolMissing, StoreUnreachable, AccessDenied, Damaged."""
        told = self._info()
        systems = {db["id"]: db for db in told["db"]}
        found = [self._point(backup, systems, component, database) for backup in told["backup"]]
        return sorted(found, key=lambda point: point.began)

    def _info(self, label: str | None = None) -> dict[str, Any]:
        words = ["--output=json", *([f"--set={label}"] if label else [])]
        try:
            said = run(self.call("info", *words, within=_ASK)).text
            told: object = json.loads(said)
            stanza = cast("dict[str, Any]", cast("list[object]", told)[0])
            if stanza["status"]["code"] not in (0, 2):  # 2: no valid backups
                raise StoreUnreachable(
                    f"pgBackRest has nothing of the stanza {self.settings.stanza}",
                    detail=str(stanza["status"]["message"])[:200],
                    hint="compare stanza and repository with `pgbackrest info`",
                )
            return {"backup": list(stanza["backup"]), "db": list(stanza["db"])}
        except ToolFailed as error:
            raise said_by(error, "reading the list of its backups") from None
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise _strange(error) from None

    def _point(
        self, backup: dict[str, Any], systems: dict[int, dict[str, Any]], component: ComponentName, database: str
    ) -> Point:
        """What a stranger's file says, taken apart with care. Raises Damaged."""
        try:
            label, system = str(backup["label"]), systems[backup["database"]["id"]]
            start, stop = str(backup["archive"]["start"]), str(backup["archive"]["stop"])
            if not _LABEL.match(label) or not _SEGMENT.match(start) or not _SEGMENT.match(stop):
                raise ValueError(f"set {label[:40]!r} with log from {start[:30]!r} to {stop[:30]!r}")
            began, ended = (datetime.fromtimestamp(int(backup["timestamp"][key]), UTC) for key in ("start", "stop"))
            timeline, number = int(start[:8], 16), int(system["system-id"])
            return Point(
                id=PointId(f"pgbackrest-{self.settings.stanza}-{label}"),
                component=component,
                lineage=LineageId(f"pg-{number}-{timeline}"),
                parent=None,
                way="pgbackrest",
                began=began,
                ended=ended,
                newest=None,
                newest_source="the start of the backup",
                size_bytes=int(backup["info"]["size"]),
                stored_bytes=int(backup["info"]["repository"]["delta"]),
                files=0,
                plan=Digest(""),
                writer=f"pgBackRest {backup['backrest']['version']}"[:60],
                about={
                    "label": label, "first": start, "last": stop, "system": str(number), "timeline": str(timeline),
                    "server_version_num": f"{int(system['version'])}0000", "start_lsn": str(backup["lsn"]["start"]),
                    "stop_lsn": str(backup["lsn"]["stop"]), "database": database, "tablespaces": "[]",
                    "superuser": self.settings.superuser, "errors": str(backup.get("error") or False),
                    "uncounted": "pgBackRest does not count the objects of its source",
                },
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise _strange(error) from None

    def open(self, point: Point, *, latest: bool) -> "PgBackRestPoint":
        """With its tablespaces, which only a look at the one set tells. Raises NoSuchPoint."""
        label = point.about["label"]
        backups = self._info(label)["backup"]
        if len(backups) != 1 or backups[0].get("label") != label:
            raise NoSuchPoint(f"pgBackRest has no set {label}")
        try:
            told = cast("list[dict[str, Any]]", backups[0].get("tablespace") or [])
            spaces = [{"oid": int(s["oid"]), "location": str(s["destination"]), "size_bytes": 0} for s in told]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise _strange(error) from None
        about = {**point.about, "tablespaces": json.dumps(spaces, separators=(",", ":"))}
        return PgBackRestPoint(self, replace(point, about=about), about, latest)

    def check(self, label: str) -> Said:
        """Its own `verify` reads every file of every set. It exits 0 in any case: its words count."""
        done = run(self.call("verify", "--output=text", "--verbose", within=timedelta(hours=24)))
        found: dict[str, str] = dict(_STATUS.findall(done.text))
        if label not in found:
            return unknown(f"`pgbackrest verify` says nothing of set {label}")
        if found[label] != "valid":
            return failed(f"`pgbackrest verify` calls set {label} {found[label][:40]}")
        return passed(f"`pgbackrest verify` read every file of set {label}: its checksums are right")


def _strange(error: Exception) -> Damaged:
    return Damaged(
        "what pgBackRest says of its backups cannot be understood", detail=f"{type(error).__name__}: {error}"
    )


def said_by(error: ToolFailed, doing: str) -> BackstayError:
    """A `pgbackrest` that failed. Damage speaks against the set; everything else only says that we could not look."""
    lines = [line for line in error.detail.splitlines() if "ERROR" in line] or error.detail.splitlines()
    said = re.sub(r"^.*?ERROR: ", "", lines[0] if lines else error.message)[:300]
    if re.search(r"No space left|Disk quota", error.detail):
        return DiskFull(f"no room left while pgBackRest was {doing}", detail=said)
    if re.search(r"Permission denied", error.detail):
        return AccessDenied(f"pgBackRest may not read what it needs ({doing})", detail=said)
    if _DAMAGE.search(error.detail):
        return Damaged(f"pgBackRest met damage while {doing}", detail=said, hint="choose another set")
    if "[075]" in error.detail:
        return NoSuchPoint(f"pgBackRest has no such set ({doing})", detail=said)
    return StoreUnreachable(f"pgBackRest failed while {doing}", detail=said, hint="try `pgbackrest info` and `check`")


# ── one set ──────────────────────────────────────────────────────────────────────────────────────


class PgBackRestPoint(LaysItself):
    """One set, as a PointReader that only its own program can read. `latest`: with all WAL that the archive has."""

    def __init__(self, repository: Repository, point: Point, about: dict[str, str], latest: bool) -> None:
        self.point, self._repository, self._latest = point, repository, latest
        self.learned = about
        """The notes of `point`, which grow: whether its pages have checksums only its pg_control tells."""
        self._segment_bytes = 0
        self.told: tuple[str, ...] = ()
        """What whoever restored it has to hear."""

    def entries(self, under: str = "") -> Iterator[Stored]:
        return iter(())

    def entry(self, path: str) -> Stored | None:
        return None

    def read(self, path: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        raise _by_itself(self.point)

    def extract(self, to: Path, **_: object) -> None:
        raise _by_itself(self.point)

    def check_bytes(self, progress: Progress) -> Said:
        progress(0, None, "pgbackrest verify")
        return self._repository.check(self.point.about["label"])

    def lay(self, ground: Ground, progress: Progress) -> None:
        data, label = ground.data, self.point.about["label"]
        for folder in (data, *ground.spaces.values()):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        words = [f"--set={label}", "--type=none", "--archive-mode=off", "--no-delta", "--no-link-all", "--job-retry=0"]
        words += [f"--reset-{name}" for name in ("link-map", "tablespace-map", "tablespace-map-all", "recovery-option",
                                                 "db-include", "db-exclude")]  # fmt: skip
        words = [word for word in words if word != "--reset-tablespace-map" or not ground.spaces]
        words += [f"--tablespace-map={oid}={folder}" for oid, folder in ground.spaces.items()]
        # A restore empties the stanza's spool, which is its operator's.
        words += [
            f"--spool-path={self._repository.scratch / 'pgbackrest-spool'}",
            "--process-max=2",
            "--log-level-console=detail",
        ]
        size = self.point.size_bytes
        said = Lines(20)

        def follow(part: bytes) -> None:
            if found := _PERCENT.findall(part):
                progress(int(size * float(found[-1]) / 100), size, "restored by pgBackRest")
            if b"ERROR" in part:
                said.add(part)

        try:
            run(self._repository.call("restore", *words, data=data), stdout=follow, stop=ground.stop)
        except ToolFailed as error:
            raise said_by(ToolFailed("", detail="\n".join((error.detail, *said.all()))), f"restoring {label}") from None
        if "pg_control" not in {path.name for path in (data / "global").iterdir()}:
            raise Damaged(f"set {label} has no pg_control")
        with suppress(BackstayError):  # without its programs no server of it is started either
            told = control_data(find(int(self.point.about["server_version_num"]) // 10000), data)
            self.learned["checksums"] = "off" if told["Data page checksum version"] == "0" else "on"
        self._fetch_wal(ground, progress)
        for name, text in (("postgresql.conf", _CONFIGURATION), ("pg_hba.conf", ""), ("pg_ident.conf", "")):
            if not (data / name).exists():
                (data / name).write_text(text)
        for tree in (data, *ground.spaces.values()):
            _ours(tree)

    def _fetch_wal(self, ground: Ground, progress: Progress) -> None:
        """From start to stop, each of which must be there; then, where all is wanted, on until one is not."""
        about, wal = self.point.about, ground.data / "pg_wal"
        wal.mkdir(mode=0o700, exist_ok=True)
        names: Sequence[str] = (about["first"],)
        for number in itertools.count():
            if number == 1:  # a segment is as long as all the others: their size is never assumed
                self._segment_bytes = (wal / names[0]).stat().st_size
                names = segments_between(about["first"], about["last"], self._segment_bytes)
            if number == len(names):
                break
            name = names[number]
            if not self._get(name, ground):
                raise Damaged(
                    f"the archive of pgBackRest lacks WAL that set {about['label']} needs",
                    detail=f"{name} is not there; without it the set never becomes consistent",
                    hint="choose another set; `pgbackrest check` tells whether archiving works now",
                )
        timeline = int(names[-1][:8], 16)
        if timeline > 1:  # the server that is brought up has no other archive, and believes in no timeline without it
            self._get(f"{timeline:08X}.history", ground)
        if self._latest:
            self._fetch_the_rest(names[-1], ground, progress)
        sync(wal)

    def _fetch_the_rest(self, name: str, ground: Ground, progress: Progress) -> None:
        size, more = self._segment_bytes, 0
        while self._get(name := following(name, size), ground):
            more += 1
            progress(more * size, None, "WAL from pgBackRest")
        timeline = int(name[:8], 16)
        told = f"with {count(more, 'WAL segment')} after the backup, all that its archive has on timeline {timeline}"
        self.told = (told,)
        later = f"{timeline + 1:08X}.history"
        if self._get(later, ground):
            (ground.data / "pg_wal" / later).unlink()
            self.told += (f"the archive also has timeline {timeline + 1}: what was written there is NOT in it",)

    def _get(self, name: str, ground: Ground) -> bool:
        """False: proved absent (exit status 1, by listing). Any other failure is raised."""
        if ground.stop():
            raise Cancelled("stopped while WAL was being fetched")
        place = ground.data / "pg_wal" / name
        words = ("--no-archive-async", name, str(place))
        try:
            done = run(self._repository.call("archive-get", *words, data=ground.data, within=_ASK, accept=(0, 1)))
        except ToolFailed as error:
            raise said_by(error, f"fetching {name}") from None
        return done.status == 0 and place.exists()


def _by_itself(point: Point) -> NotSupported:
    return NotSupported(
        f"{point.id} is held by pgBackRest, and its files are not laid down one by one",
        hint="`pgbackrest restore` does that; `backstay recover` and `backstay verify` use it",
    )


def _ours(tree: Path) -> None:
    """A root's pgBackRest gives files back to whoever had them; the server that we start must be able to read them."""
    if os.geteuid() != 0:
        return
    for folder, folders, files, at in os.fwalk(tree, follow_symlinks=False):
        os.chown(folder, 0, 0, follow_symlinks=False)
        for name in (*folders, *files):
            os.chown(name, 0, 0, dir_fd=at, follow_symlinks=False)


# ── segments ─────────────────────────────────────────────────────────────────────────────────────


def segments_between(first: str, last: str, size: int) -> Sequence[str]:
    """Names from `first` to `last`, of `size` bytes each. Raises Damaged for what cannot be a range."""
    names = [first]
    while names[-1] != last:
        names.append(following(names[-1], size))
        if names[-1][:8] != last[:8] or names[-1] > last or len(names) > 1 << 20:
            raise Damaged("the WAL that a set of pgBackRest needs cannot be named", detail=f"from {first} to {last}")
    return names


def following(name: str, size: int) -> str:
    """xlog_internal.h, XLogFileName: timeline, log number, segment in it; 0x100000000 / size segments a log number."""
    each = (1 << 32) // size
    number = int(name[8:16], 16) * each + int(name[16:], 16) + 1
    return f"{name[:8]}{number // each:08X}{number % each:08X}"

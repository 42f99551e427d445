"""A point as files in a folder, for `backstay restore --to`: what remains when there is only a vault and a key."""

import shlex
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from backstay.adapters.postgres.laying import LAID, Ground, Physical, end_the_cluster, lay, room
from backstay.adapters.postgres.private import PrivateServer, need_server
from backstay.adapters.postgres.programs import find, owner_of
from backstay.adapters.postgres.replay import Onward, Replay
from backstay.adapters.postgres.sandbox import look
from backstay.durable import sync
from backstay.errors import PointRefuted, TargetNotEmpty
from backstay.lsn import lsn
from backstay.plan import Target
from backstay.ports import Clock, PointReader, Progress, Stored, WalShelf, unwatched
from backstay.values import count, listed, say_moment
from backstay.vault.over import others, remove

_REPLAY = timedelta(hours=12)
_RECOVERY = """
# Added by Backstay. Recovery to the end of the backup, then a timeline of its own. This server keeps no archive and
# follows no other: change that only when it has taken the place of the old one.
restore_command = 'false'
recovery_target_timeline = '{timeline}'
recovery_target = ''
recovery_target_time = ''
recovery_target_lsn = ''
recovery_target_xid = ''
recovery_target_name = ''
archive_mode = off
hot_standby = off
primary_conninfo = ''
synchronous_standby_names = ''
"""

_CONFIGURATION = """# Made by Backstay: this cluster had its configuration outside its data directory; it is in config/.
listen_addresses = ''
unix_socket_directories = '/tmp'
"""

_ACCESS = "# Made by Backstay: only the owner of this server may come in.\nlocal all all peer\n"


def lay_down_data(
    reader: PointReader, to: Path, progress: Progress = unwatched, *, over: bool = False, removing: bool = False
) -> tuple[str, ...]:
    """A physical point as a data directory that starts: `to/data`, with its tablespaces in `to/tablespaces`; gives what
    to do next. `over`: only what differs from what is there is written; what the point does not have is removed when
    that is asked, and else raises TargetNotEmpty: WAL of a later moment would be replayed. Raises DiskFull, Damaged."""
    physical = Physical.of(reader.point)
    data = to / "data"
    with room(to, f"restoring to {to}"):
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
        spaces = {space.oid: to.absolute() / "tablespaces" / str(space.oid) for space in physical.tablespaces}
        ground = Ground(data, spaces)
        if over:
            _clear(reader, ground, removing=removing)
        lay(reader, ground, progress, over=over)
        _lay_configuration(reader, to, over=over)
        with (data / "postgresql.auto.conf").open("a") as file:
            file.write(_RECOVERY.format(timeline=physical.timeline))
        for name, text in (("postgresql.conf", _CONFIGURATION), ("pg_hba.conf", _ACCESS), ("pg_ident.conf", "")):
            if not (data / name).exists():
                (data / name).write_text(text)
        (data / "recovery.signal").touch()
        sync(data)
    quoted = shlex.quote(str(data))
    return (
        f"next, with the programs of PostgreSQL {physical.major}, as a user that is not root and owns {to}:",
        f'pg_ctl -D {quoted} -l {shlex.quote(str(to / "log"))} -o "-p 5433" -w start',
        "it recovers by itself, to the end of the backup; do not remove backup_label before that",
    )


def need_way(reader: PointReader, target: Target, log: WalShelf) -> Replay:
    """Raises Unreachable, and ToolMissing where the server is not installed: only it can replay."""
    physical = Physical.of(reader.point)
    programs = find(physical.major)
    need_server(programs)
    return Onward(target, log).replay(reader, physical, programs)


def go_on(replay: Replay, to: Path, clock: Clock) -> tuple[str, ...]:
    """Bring what lies in `to/data` to its target on a private socket, stop it there in order; gives what to do next.
    Raises Unreachable, PointRefuted, and what the vault raises: then the folder is no cluster that could be used."""
    data, physical = to / "data", replay.physical
    owner = owner_of(data)
    settings = {"max_replication_slots": physical.about.get("max_replication_slots", "10")}
    # The settings that were written for a recovery without log would end it before the target.
    server = PrivateServer(
        replay.programs,
        data,
        owner,
        to / "recovery.log",
        clock,
        f"backstay-{to.name}"[:60],
        physical.superuser,
        settings,
    )
    with _whole_or_none(data), server:
        with replay.feeding(to / "spool", owner, server, durable=True) as spool:
            seen = replay.bring_up(server, spool, _REPLAY)
        looked = look(server, physical, timedelta())
        if looked.still_recovering or looked.timeline <= replay.route.timeline:
            raise PointRefuted(f"recovery has not ended: the server is on timeline {looked.timeline}")
        replay.judge(lsn(looked.reached))
    for left in ("backup_label.old", "tablespace_map.old", "postmaster.opts"):
        (data / left).unlink(missing_ok=True)
    quoted = shlex.quote(str(data))
    last = f", the last commit of {say_moment(seen.newest)}" if seen.newest is not None else ""
    return (
        f"it has gone on {replay.route.say()}{last}, and has ended there, on timeline {looked.timeline}",
        f"next, with the programs of PostgreSQL {physical.major}, as a user that is not root and owns {to}:",
        f'pg_ctl -D {quoted} -l {shlex.quote(str(to / "log"))} -o "-p 5433" -w start',
    )


@contextmanager
def _whole_or_none(data: Path) -> Generator[None]:
    """What ended its recovery at the wrong place starts like any other: without `pg_control` it does not."""
    try:
        yield
    except BaseException:
        end_the_cluster(data)
        raise


def _clear(reader: PointReader, ground: Ground, *, removing: bool) -> None:
    """Of what the point does not have."""
    laid = LAID | {f"pg_tblspc/{oid}" for oid in ground.spaces}
    found = [
        path
        for path in others(reader.entries(), ground.place)
        if not path.is_relative_to(ground.data) or str(path.relative_to(ground.data)) not in laid
    ]
    if not found:
        return
    if not removing:
        raise TargetNotEmpty(
            f"{ground.data} holds {count(len(found), 'thing')} that the point does not have",
            detail=f"{listed([str(path) for path in found[:3]])}{' and more' if len(found) > 3 else ''}; nothing was "
            "changed. A server must not find them: it would replay WAL of a later moment",
            hint="look whether you need them (pg_wal may hold the newest transactions), then say --remove",
        )
    end_the_cluster(ground.data)
    for path in found:
        remove(path)


def _lay_configuration(reader: PointReader, to: Path, *, over: bool) -> None:
    """The files that lived elsewhere, below `to/config`: for a person to look at."""
    if reader.entry("config") is None:
        return

    def place(stored: Stored) -> Path | None:
        return to / stored.path if stored.path == "config" or stored.path.startswith("config/") else None

    reader.extract(to, under="config", place=place, over=over)


def lay_down_dump(
    reader: PointReader, to: Path, progress: Progress = unwatched, *, over: bool = False
) -> tuple[str, ...]:
    """A logical point as a directory dump that pg_restore reads; gives what to do next."""
    reader.extract(to, progress=progress, over=over)
    about = reader.point.about
    name = shlex.quote(about.get("database", "NEW"))
    return (
        f"next: psql -f {shlex.quote(str(to / 'roles.sql'))} postgres   # roles, without passwords",
        f"createdb {name}",
        f"pg_restore --jobs 2 --no-tablespaces --dbname {name} {shlex.quote(str(to / 'dump'))}",
    )

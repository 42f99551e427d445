"""The way `stream`: BASE_BACKUP over the replication protocol. Nothing of ours runs on the server's host.

The server reads its own files, in the order that it knows to be right (`backup_label` first, `pg_control` last), looks
at the checksum of every page on the way, and sends the WAL from start to stop behind them; a temporary slot keeps that
WAL from being recycled meanwhile. What comes is laid into the point as a local backup would lay it: a restore cannot
tell them apart.

Incremental (17 and newer, `summarize_wal = on`): the manifest of the point before is sent to the server, which then
sends, of a relation that was there already, only the blocks that changed since. They are folded into the files of that
point as they come, so this point is as whole as any. Whatever speaks against that is said, and everything is read
again.
"""

import os
import secrets
from dataclasses import dataclass, field

from backstay.adapters.postgres import catalogue
from backstay.adapters.postgres.arriving import Arriving
from backstay.adapters.postgres.layout import bytes_entry
from backstay.adapters.postgres.local import Watch, about_point, expected_bytes, refuse_change
from backstay.adapters.postgres.newest import Newest
from backstay.adapters.postgres.place import PostgresPlace
from backstay.adapters.postgres.prior import MANIFEST, Prior, prior_of
from backstay.adapters.postgres.session import Connection, rows, session
from backstay.adapters.postgres.source import Source, examine, named_outside, refuse_unsuitable, stored_words
from backstay.adapters.postgres.wire import Line, Refused, replicating
from backstay.errors import BackstayError
from backstay.ports import Clock, Entry, Kind, PointWriter, Progress, Sealing, Taken, unwatched
from backstay.protect import READ
from backstay.values import LineageId, count

_MOST_NAMED = 20
_LARGEST_CONFIGURATION = 4 << 20


@dataclass(slots=True)
class Streaming:
    """One backup over the wire. `full`: everything is read again, whatever may be known of what changed."""

    place: PostgresPlace
    clock: Clock
    into: PointWriter
    progress: Progress = unwatched
    said: list[str] = field(default_factory=list[str])
    full: bool = True
    _warned: list[str] = field(default_factory=list[str])

    def take(self) -> Taken:
        began = self.clock.now()
        with session(self.place.dsn) as db, replicating(self.place.dsn, self._warned.append) as line:
            source = examine(db)
            self.said += refuse_unsuitable(source)
            self._hold_wal(line)
            before = catalogue.survey(db)
            newest = Newest(db, self.place, self.clock, standby=source.standby)
            newest.ask()
            received = self._begin(line, source, newest)
            self.into.add(received.entries(), Watch(self.progress, expected_bytes(db)))
            label = received.end()
            self._add_configuration(db, source)
            after = catalogue.survey(db)
            self.into.add(catalogue.kept(before, after, self.clock.now()), unwatched)
            refuse_change(db, source)
            options = _options(db, source)
        moment, moment_source = newest.until(label.stop)
        self.said += [*newest.said, received.summary(label), *self._damage(received)]
        about = source.about() | catalogue.stored(before, after) | about_point(label, source, source.data)
        about |= {READ: "incremental" if received.incremental else "full", "owner": received.owner, "options": options}
        lineage = LineageId(f"pg-{source.system}-{label.timeline}")
        ended = self.clock.now()
        sealing = Sealing(lineage, "stream", began, ended, moment, moment_source, about | self._damaged(received))
        return Taken(sealing, tuple(self.said))

    def _hold_wal(self, line: Line) -> None:
        """A temporary slot: the WAL that we need cannot be recycled while this session lives."""
        name = f"backstay_{os.getpid()}_{secrets.token_hex(4)}"
        try:
            line.command(f"CREATE_REPLICATION_SLOT {name} TEMPORARY PHYSICAL RESERVE_WAL")
        except Refused as error:
            self.said.append(
                f"no replication slot could be had ({error.detail}): should the server recycle WAL that this point "
                "needs, taking it fails; raise max_replication_slots"
            )

    # ── full or not ──

    def _begin(self, line: Line, source: Source, newest: Newest) -> Arriving:
        """As little as can be asked for; what speaks against that is said."""
        timeline = int(line.command("IDENTIFY_SYSTEM")[0][1])
        if not self.full:
            found = prior_of(self.into.before, source, timeline)
            if isinstance(found, Prior):
                received = Arriving(line, source, timeline, newest, incremental=True)
                try:
                    line.copy("UPLOAD_MANIFEST", found.point.read(MANIFEST))
                    received.begin("backstay")
                except Refused as error:
                    # In the words of the server's language. If it is more than that, a full one meets it, too.
                    found = f"the server refused: {error.detail}"
                else:
                    self.said.append(f"only what changed since {found.name} was sent")
                    return received
            self.said.append(f"everything was read again, because {found}")
        received = Arriving(line, source, timeline, newest)
        received.begin("backstay")
        return received

    # ── what else belongs into the point ──

    def _add_configuration(self, db: Connection, source: Source) -> None:
        """Files outside the data directory, as far as the server gives them (pg_read_server_files)."""
        found: list[Entry] = []
        for path in named_outside(source, db):
            try:
                [(data,)] = rows(db, "SELECT pg_read_binary_file(%s, 0, %s, true)", str(path), _LARGEST_CONFIGURATION)
            except Exception as error:
                if db.closed or isinstance(error, BackstayError):
                    raise
                data = None
            if data is None:
                self.said.append(f"the configuration file {path} could not be read, and is not in the point")
            else:
                found.append(bytes_entry(f"config{path}", bytes(data), self.clock.now()))
        if found:
            self.into.add([Entry("config", Kind.FOLDER, 0o700, self.clock.now()), *found], unwatched)

    def _damage(self, received: Arriving) -> list[str]:
        if not received.spoilt:
            return []
        warned = count(len(self._warned), "warning")
        return [f"DAMAGED at the source: {warned} of wrong page checksums; {'; '.join(self._warned[:3])}"]

    def _damaged(self, received: Arriving) -> dict[str, str]:
        return {"damaged_pages": "; ".join(self._warned[:_MOST_NAMED])} if received.spoilt else {}


def _options(db: Connection, source: Source) -> str:
    """How the server was started, as far as it tells: for a restored one to be the same."""
    found = rows(
        db,
        "SELECT name, setting FROM pg_settings WHERE source = 'command line' AND name <> 'data_directory' ORDER BY 1",
    )
    told = {str(name): str(setting) for name, setting in found}
    if source.settings.get("config_file", "").startswith("/") and not source.holds(source.settings["config_file"]):
        told["config_file"] = source.settings["config_file"]
    return stored_words(("postgres", *(word for name, value in told.items() for word in ("-c", f"{name}={value}"))))

"""Whether an incremental backup may build on the point before, and the reason when not.

The server checks what it can: that its summaries reach from the prior backup to this one, that the timelines fit. What
it does not check is asked here. After any change of timeline everything is read again: PostgreSQL 17 and 18 had a
defect in which summaries around a promotion were taken for complete (fixed in commits ec756e59 and 5787f878).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from backstay.adapters.postgres.source import Source
from backstay.errors import Damaged, ObjectMissing, WrongKey
from backstay.ports import PointReader

MANIFEST = "backup_manifest"
"""In the point beside `data/`, never in it: what the server wants to see again."""
SUMMARIES_SINCE = 17


@dataclass(frozen=True, slots=True)
class Prior:
    """A point of which only the differences are needed."""

    point: PointReader

    @property
    def name(self) -> str:
        return str(self.point.point.id)


def prior_of(before: PointReader | None, source: Source, timeline: int) -> Prior | str:
    """What may be built on, or why nothing may."""
    if source.major < SUMMARIES_SINCE:
        return f"PostgreSQL {source.major} does not know what changed (17 and newer do)"
    if source.settings.get("summarize_wal") != "on":
        return "the server writes no summaries of its WAL (summarize_wal = on)"
    if before is None:
        return "there is no point before it that could be built on"
    if (why := _differs(before.point.about, source, timeline)) or (why := _unfit(before)):
        return why
    return Prior(before)


def _differs(about: Mapping[str, str], source: Source, timeline: int) -> str:
    here = source.about()
    for key, what in (
        ("system", "is of another cluster"),
        ("checksums", "was taken with another setting of data_checksums"),
        ("block_bytes", "has blocks of another size"),
    ):
        if about.get(key) != here[key]:
            return f"the point before {what}"
    if about.get("timeline") != str(timeline):
        return f"the timeline changed from {about.get('timeline', '?')} to {timeline}"
    return ""


def _unfit(before: PointReader) -> str:
    """Read to its first bytes: a key that only writes cannot fold what changed into what was."""
    try:
        if before.point.way != "stream" or before.entry(MANIFEST) is None:
            return "the point before has no manifest of the server's"
        next(iter(before.read(MANIFEST)), b"")
    except WrongKey:
        return "the keys on this machine may write to the vault, and not read from it"
    except (Damaged, ObjectMissing) as error:
        return f"the point before cannot be read ({error.message})"
    return ""

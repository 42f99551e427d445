"""`pg_control`: read until it is whole, and poisoned where a backup is laid down.

Only what has had one place from PostgreSQL 13 to 18 is read here: the system identifier, the version, the state and the
checkpoint stand at the front, and the CRC-32C right behind the last field. Where that is depends on the version, so
it is found by trying: the one length whose checksum stands behind it. Everything else is asked of `pg_controldata`.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backstay.errors import Damaged, SourceUnsuitable

CONTROL_BYTES = 8192
"""PG_CONTROL_FILE_SIZE: padded with zeros, so that a read of a torn or short file is seen."""

POISON = 0xDEAD
"""A checkpoint that cannot be, as pgBackRest has it (0/DEAD). With `backup_label` in place no server looks at it;
without, it refuses to start. Left as it was, such a server would start happily and be silently corrupt."""

_FRONT = struct.Struct("<QIIiIqQ")
"""system_identifier, pg_control_version, catalog_version_no, state, padding, time, checkPoint (pg_control.h)."""
_CHECKPOINT_AT = 32
_SHORTEST, _LONGEST = 200, 512
"""Where the checksum may stand: at 288 in versions 15 and 17, at 292 in 18."""

STATES = {
    1: "shut down",
    2: "shut down in recovery",
    3: "shutting down",
    4: "in crash recovery",
    5: "in archive recovery",
    6: "in production",
}


@dataclass(frozen=True, slots=True)
class Control:
    system: int
    state: str
    checkpoint: int
    crc_at: int
    raw: bytes


def _table() -> tuple[int, ...]:
    # CRC-32C, Castagnoli, reflected.
    found: list[int] = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        found.append(byte)
    return tuple(found)


_CRC = _table()


def crc32c(data: bytes) -> int:
    """For a few hundred bytes: it takes its time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def read_control(raw: bytes) -> Control | None:
    """None when no checksum fits: torn, or damaged."""
    if len(raw) < _LONGEST:
        return None
    crc = 0xFFFFFFFF
    for at in range(_LONGEST):
        if at >= _SHORTEST and at % 4 == 0 and struct.unpack_from("<I", raw, at)[0] == crc ^ 0xFFFFFFFF:
            system, _, _, state, _, _, checkpoint = _FRONT.unpack_from(raw)
            return Control(system, STATES.get(state, "starting up"), checkpoint, at, raw)
        crc = crc >> 8 ^ _CRC[(crc ^ raw[at]) & 0xFF]
    return None


def whole_control(path: Path, tries: int = 200, pause: Callable[[], None] = lambda: None) -> Control:
    """Read until the checksum fits: the server writes it while we read, and ext4 gives half-written pages.

    Raises SourceUnsuitable when it never does.
    """
    for _ in range(tries):
        try:
            if (found := read_control(path.read_bytes())) is not None:
                return found
        except OSError as error:
            raise SourceUnsuitable(f"cannot read {path}", detail=error.strerror or str(error)) from error
        pause()
    raise SourceUnsuitable(
        f"the checksum of {path} does not fit, however often it is read",
        detail="pg_control is damaged, or of a version that is not known",
        hint="run pg_controldata on the data directory; restore from an earlier point if it is damaged",
    )


def poisoned(raw: bytes) -> bytes:
    """The same, with a checkpoint that cannot be. Raises Damaged."""
    found = read_control(raw)
    if found is None:
        raise Damaged("pg_control in the point has a wrong checksum", hint="restore an earlier point")
    changed = bytearray(raw)
    struct.pack_into("<Q", changed, _CHECKPOINT_AT, POISON)
    struct.pack_into("<I", changed, found.crc_at, crc32c(bytes(changed[: found.crc_at])))
    return bytes(changed)

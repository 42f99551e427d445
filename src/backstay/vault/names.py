"""Where everything lies in a vault: the names of its objects, and nothing else decides.

    vault                                     the header: format, ids, plan; signed by the root
    writers/<fp>                              an enrolled signer; signed by an owner
    retired/<fp>-<digest>                     the end of one, signed by an owner
    retired/<fp>/<digest>                     the list of what it had sealed
    keys/<number>-<epoch>/<role>-<who>        an epoch's keys, wrapped for one reader or writer; signed by an owner
    keys/<number>-<epoch>/used                from here on the epoch is used; signed by an owner
    words/<who>                               a key that a passphrase opens; signed by an owner
    reserved/<component>/<point>              a backup has begun
    points/<component>/<point>                its end: the sealed point, or its expiry; by put-if-absent, so one winner
    packs/<component>/<pack>                  data
    nodes/<component>/<pack>                  trees and stream maps
    proofs/<component>/<point>/<digest>       what was seen when the point was restored
    holds/<component>/<digest>
    secrets/<plan>/<id>/letter                the values of a plan's secrets, for readers only; its list is beside it
    notes/<name>                              small sealed objects of others: plans, spines, journal epochs
    marks/<component>/<id>                    what a pruner is about to delete
    locks/<component>/<until>-<id>            which locks were made longer: a hint (`_vault` for what no component has)
    canary/<id>                               tried to be deleted, by `vault check --immutability`
    index/<component>/<generation>/<prefix>   where chunks are, after repacking
    wal/<system>/<timeline>/<start>-<end>     a stretch of a cluster's write-ahead log
    wal/<system>/<timeline>/history           where that timeline came from

A point's id has capital letters (`20261122T204437Z-7f3a9c1d`); a key has not, so ids are written small.
"""

import re
from datetime import datetime

from backstay.ports import Key
from backstay.values import ComponentName, PointId, is_name

HEADER = Key("vault")
WRITERS = "writers/"
KEYS = "keys/"
HOLDS = "holds/"
SPINES = "notes/spine/"
CANARIES = "canary/lock-"
RETIRED = "retired/"
WORDS = "words/"
SECRETS = "secrets/"
WAL = "wal/"

_RETIRED_LIST = re.compile(r"retired/[0-9a-f]{16}/[0-9a-f]{32}\Z")
_WRAP = re.compile(r"keys/(\d{6})-([0-9a-f]{16})/(?:(reader|writer)-([0-9a-f]{16})|used)\Z")
_SECRETS = re.compile(r"secrets/([0-9a-f]{64})/(\d{8}t\d{6}z-[0-9a-f]{8})/(letter|list)\Z")
_STRETCH = re.compile(r"wal/([0-9a-f]{16})/([0-9a-f]{8})/([0-9a-f]{16})-([0-9a-f]{16})\Z")
_HISTORY = re.compile(r"wal/([0-9a-f]{16})/([0-9a-f]{8})/history\Z")
_POINT = re.compile(r"(\d{8})t(\d{6})z-([0-9a-f]{8})\Z")
_POINT_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}\Z")
_BOX = re.compile(
    r"proofs/[a-z0-9-]+/\d{8}t\d{6}z-[0-9a-f]{8}/[0-9a-f]{32}"
    r"|holds/[a-z0-9-]+/[0-9a-f]{32}"
    r"|marks/[a-z0-9-]+/[a-z0-9-]+"
    r"|index/[a-z0-9-]+/[0-9]{12}/(?:begun|complete|[0-9a-f]+)"
)
_PLAIN = re.compile(r"[a-z0-9./-]")


def is_point_id(text: str) -> bool:
    return _POINT_ID.match(text) is not None


def _checked(component: ComponentName) -> str:
    if not is_name(component):
        raise ValueError(f"{component!r} is no name of a component")
    return component


def writer(who: str) -> Key:
    """`who`: sixteen digits, of the family and the public key."""
    return Key(f"{WRITERS}{who}")


def retired(who: str, statement: bytes) -> Key:
    """With the beginning of the statement's digest, so that nobody can take the name beforehand."""
    return Key(f"{RETIRED}{who}-{statement[:8].hex()}")


def retired_list(who: str, digest: bytes) -> Key:
    return Key(f"{RETIRED}{who}/{digest[:16].hex()}")


def is_retired_list(key: Key) -> bool:
    return _RETIRED_LIST.match(key) is not None


def wrap(number: int, epoch: bytes, role: str, who: str) -> Key:
    return Key(f"{KEYS}{number:06d}-{epoch.hex()}/{role}-{who}")


def used(number: int, epoch: bytes) -> Key:
    """What takes an epoch into use."""
    return Key(f"{KEYS}{number:06d}-{epoch.hex()}/used")


def read_wrap(key: Key) -> tuple[int, bytes, str, str]:
    """Number, epoch, role and whom; both empty for `used`. Raises ValueError."""
    if (found := _WRAP.match(key)) is None:
        raise ValueError(f"{key!r} is no name of a wrapped key")
    number, epoch, role, who = found.groups()
    return int(number), bytes.fromhex(epoch), role or "", who or ""


def words(who: str) -> Key:
    return Key(f"{WORDS}{who}")


def secrets(plan: str, id: str, what: str) -> Key:
    """`plan`: 64 digits of its digest; `id` is written like a point's; `what` is `letter` or `list`."""
    return Key(f"{SECRETS}{plan}/{id.lower()}/{what}")


def read_secrets(key: Key) -> tuple[str, str, str]:
    """Plan, id and what. Raises ValueError."""
    if (found := _SECRETS.match(key)) is None:
        raise ValueError(f"{key!r} is no name of sealed secrets")
    return found[1], found[2], found[3]


def is_letter(key: Key) -> bool:
    return key.startswith(SECRETS) and key.endswith("/letter")


def data_pack(component: ComponentName, pack: bytes) -> Key:
    return Key(f"packs/{_checked(component)}/{pack.hex()}")


def node_pack(component: ComponentName, pack: bytes) -> Key:
    return Key(f"nodes/{_checked(component)}/{pack.hex()}")


def reserved(component: ComponentName, point: PointId | None = None) -> Key:
    return Key(f"reserved/{_checked(component)}/{point.lower() if point else ''}")


def sealed(component: ComponentName, point: PointId) -> Key:
    return Key(f"points/{_checked(component)}/{point.lower()}")


def points(component: ComponentName | None) -> str:
    return "points/" if component is None else f"points/{_checked(component)}/"


def is_point(key: Key) -> bool:
    """Whether `key` names a point: anything else below `points/` is a stranger's."""
    try:
        read_point(key)
    except ValueError:
        return False
    return True


def read_point(key: Key) -> tuple[ComponentName, PointId]:
    """Component and point of a key below `points/` or `reserved/`. Raises ValueError."""
    parts = key.split("/")
    if len(parts) != 3 or not is_name(parts[1]) or (found := _POINT.match(parts[2])) is None:
        raise ValueError(f"{key!r} is no name of a point")
    day, time, rest = found.groups()
    return ComponentName(parts[1]), PointId(f"{day}T{time}Z-{rest}")


def is_box(key: Key) -> bool:
    """Whether `key` is the name of a box. What is named otherwise below the prefixes of boxes is a stranger's."""
    if key.startswith(("points/", "reserved/")):
        return is_point(key)
    if key.startswith(SECRETS):
        return _SECRETS.match(key) is not None
    if key.startswith("notes/"):
        try:
            return bool(read_note(key))
        except ValueError:
            return False
    return _BOX.fullmatch(key) is not None or _HISTORY.match(key) is not None


def proof(component: ComponentName, point: PointId, digest: bytes) -> Key:
    return Key(f"proofs/{_checked(component)}/{point.lower()}/{digest.hex()}")


def hold(component: ComponentName, digest: bytes) -> Key:
    return Key(f"holds/{_checked(component)}/{digest.hex()}")


def marks(component: ComponentName) -> str:
    return f"marks/{_checked(component)}/"


def locks(component: ComponentName | None) -> str:
    """None: what no component has for itself."""
    return f"locks/{_checked(component) if component else '_vault'}/"


def ledger(component: ComponentName | None, until: datetime, id: str) -> Key:
    return Key(f"{locks(component)}{until:%Y%m%dt%H%M%Sz}-{id}")


def canary(id: str) -> Key:
    return Key(f"{CANARIES}{id}")


def packs(component: ComponentName) -> tuple[str, str]:
    """Of data and of nodes."""
    return f"packs/{_checked(component)}/", f"nodes/{_checked(component)}/"


def indexes(component: ComponentName) -> str:
    return f"index/{_checked(component)}/"


def timeline(system: int, timeline: int) -> str:
    return f"{WAL}{system:016x}/{timeline:08x}/"


def stretch(system: int, timeline_: int, start: int, end: int) -> Key:
    """Numbers of fixed width: the order of keys is the order of the log."""
    return Key(f"{timeline(system, timeline_)}{start:016x}-{end:016x}")


def read_stretch(key: Key) -> tuple[int, int, int, int]:
    """System, timeline, start and end. Raises ValueError."""
    if (found := _STRETCH.match(key)) is None:
        raise ValueError(f"{key!r} is no name of a stretch of log")
    system, line, start, end = (int(part, 16) for part in found.groups())
    if start >= end:
        raise ValueError(f"{key!r} runs backwards")
    return system, line, start, end


def is_stretch(key: Key) -> bool:
    return _STRETCH.match(key) is not None


def history(system: int, timeline_: int) -> Key:
    return Key(f"{timeline(system, timeline_)}history")


def read_history(key: Key) -> tuple[int, int]:
    """System and timeline. Raises ValueError."""
    if (found := _HISTORY.match(key)) is None:
        raise ValueError(f"{key!r} is no name of a history")
    return int(found[1], 16), int(found[2], 16)


def note(name: str) -> Key:
    """Bytes outside `[a-z0-9./-]` are written as `_` and two hexadecimal digits, so any name has one key."""
    parts = name.split("/")
    if not name or len(name) > 300 or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{name!r} cannot be the name of a note")
    return Key("notes/" + _escaped(name))


def notes(prefix: str) -> str:
    return "notes/" + _escaped(prefix)


def _escaped(text: str) -> str:
    spelled = (chr(byte) for byte in text.encode())
    return "".join(char if _PLAIN.match(char) else f"_{ord(char):02x}" for char in spelled)


def read_note(key: Key) -> str:
    """The name of the note under `key`. Raises ValueError."""
    escaped = key.removeprefix("notes/")
    raw = re.sub(rb"_([0-9a-f]{2})", lambda found: bytes.fromhex(found.group(1).decode()), escaped.encode())
    name = raw.decode()
    if note(name) != key:
        raise ValueError(f"{key!r} is no name of a note")
    return name

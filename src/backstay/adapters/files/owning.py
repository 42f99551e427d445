"""Who the files of a folder belong to: written into the point's notes, and given back where we may.

By name where there is one, because numbers differ from host to host. Only root can give files away: another user who
restores becomes their owner.
"""

import grp
import json
import os
import pwd
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from backstay.adapters.files.walking import Survey
from backstay.ports import Kind, PointReader

LONGEST_NOTE = 32 << 10
"""Bytes of the owners that differ from the folder's own."""

Owner = tuple[int, int]


def owned(root: Path, seen: Survey) -> dict[str, str]:
    """Notes for the point: the folder's mode and owner, and the entries whose owner differs, as far as they fit."""
    own = root.stat()
    about = {"mode": f"{stat.S_IMODE(own.st_mode):o}", "owner": _named(own.st_uid, own.st_gid)}
    others = json.dumps({path: _named(*ids) for path, ids in seen.owners.items()}, sort_keys=True)
    if len(others) > LONGEST_NOTE:
        seen.more_owners += len(seen.owners)
    elif seen.owners:
        about["owners"] = others
    return about


def dress(folder: Path, point: PointReader) -> None:
    """Give a restored folder its own mode, and the owners that the point knows. Raises OSError."""
    about = point.point.about
    owner = _ids(about.get("owner", ""))
    if os.geteuid() == 0 and owner is not None:
        others = _others(about)
        if owner != (os.geteuid(), os.getegid()) or others:
            os.chown(folder, *owner)
            for stored in point.entries():
                path = folder / stored.path
                os.chown(path, *(others.get(stored.path) or owner), follow_symlinks=False)
                if stored.kind is not Kind.LINK and stored.mode & (stat.S_ISUID | stat.S_ISGID):
                    path.chmod(stored.mode)  # giving a file away takes these bits from it (chown(2))
    mode = about.get("mode", "")
    folder.chmod(int(mode, 8) if mode.isdecimal() and len(mode) <= 4 and not set(mode) - set("01234567") else 0o755)


def _named(uid: int, gid: int) -> str:
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = str(gid)
    return f"{user}:{group}"


def _ids(name: str) -> Owner | None:
    """None: nobody of that name is here."""
    user, _, group = name.partition(":")
    try:
        uid = int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid
        gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        return None
    return uid, gid


def _others(about: Mapping[str, str]) -> dict[str, Owner]:
    try:
        stored: Any = json.loads(about.get("owners", "{}"))
    except ValueError:
        return {}
    if not isinstance(stored, dict):
        return {}
    found = {path: _ids(str(name)) for path, name in cast("dict[str, Any]", stored).items()}
    return {path: ids for path, ids in found.items() if ids is not None}

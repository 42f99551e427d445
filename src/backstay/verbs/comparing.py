"""What the structure of a restored database is compared with."""

import os
import stat
from pathlib import Path

from backstay.errors import BackstayError
from backstay.facts import Proof
from backstay.ports import CATALOGUE, Vault
from backstay.values import say_size
from backstay.verify import Reference, Unanswered

MOST_BYTES = 16 << 20
"""Of a file with a structure."""


def reference_for(vault: Vault, named: str | None, base: Path, last: Proof | None) -> Reference | Unanswered | None:
    """The plan's file `named`, where it names one; else what the point of the last proof came from. None: nothing is
    known to compare with."""
    if named is None:
        return _of_the_last(vault, last) if last is not None else None
    try:
        text = _small_file(base / named).decode("utf-8", "replace")
    except OSError as error:
        return Unanswered(f"{named} cannot be read ({error.strerror or error})")
    return Reference(tuple(text.splitlines()), named, "file")


def _of_the_last(vault: Vault, last: Proof) -> Reference | None:
    """None where its point is gone, or came from a source that could not tell."""
    try:
        reader = vault.open(last.point)
        if reader.entry(CATALOGUE) is None:
            return None
        text = b"".join(reader.read(CATALOGUE)).decode("utf-8", "replace")
    except BackstayError:
        return None
    # Two letters say whether a line was there before and after the moment of the point: what was made or dropped around
    # it may be in the point or not, and must not be called gone.
    surely = tuple(line[2:] for line in text.splitlines() if line.startswith("  "))
    return Reference(surely, str(last.point), "proof", last.ended)


def _small_file(path: Path) -> bytes:
    """Raises OSError, also for a pipe (which is not waited for) and for what is too large."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as file:  # noqa: PTH123 - it is open already
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("it is no plain file")
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise OSError(f"it is larger than {say_size(MOST_BYTES)}")
    return data

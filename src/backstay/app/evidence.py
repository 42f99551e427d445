"""What is left of a proof in files: JUnit for a CI server, the structure for the repository of the application."""

from collections.abc import Sequence
from pathlib import Path

from backstay.app.home import Home
from backstay.app.junit import Shown, junit
from backstay.app.protecting import Came
from backstay.durable import write_durably
from backstay.errors import AccessDenied, NotSupported
from backstay.facts import PointTaken, Proof
from backstay.ports import CATALOGUE
from backstay.values import PointId, VaultName


def write_junit(came: Sequence[Came], to: Path) -> None:
    """In place of an older file. Raises AccessDenied."""
    shown = [Shown(one.component, one.vault, one.result) for one in came if not isinstance(one.result, PointTaken)]
    _write(to, junit(shown))


def write_structure(home: Home, vault: VaultName, point: PointId, to: Path) -> int:
    """The structure that the point came from, one line per object; gives how many. Raises NotSupported for a point that
    does not know it, AccessDenied."""
    reader = home.vault(vault).open(point)
    if reader.entry(CATALOGUE) is None:
        raise NotSupported(
            f"the point {point} does not know the structure of its source",
            detail="it is of a folder, or was taken by an older version, or the source could not be asked",
            hint="take a point of a database with this version, and name that one",
        )
    text = b"".join(reader.read(CATALOGUE)).decode("utf-8", "replace")
    # What was made or dropped while the point was taken is marked: only what was surely there is the truth.
    lines = [line[2:] for line in text.splitlines() if line.startswith("  ")]
    _write(to, "".join(f"{line}\n" for line in lines))
    return len(lines)


def structures(home: Home, came: Sequence[Came], to: Path) -> str:
    """Of the one point that was proven; gives a sentence. Raises NotSupported where there are several."""
    proofs = [one.result for one in came if isinstance(one.result, Proof)]
    if len(proofs) != 1:
        raise NotSupported(
            "--structure is of one component", detail=f"{len(proofs)} points were proven", hint="name one"
        )
    number = write_structure(home, proofs[0].vault, proofs[0].point, to)
    return f"the structure of {proofs[0].component}, {number:,} lines, is in {to}"


def _write(to: Path, text: str) -> None:
    try:
        write_durably(to.absolute(), text.encode(), 0o644)
    except OSError as error:
        raise AccessDenied(f"cannot write {to}", detail=error.strerror or str(error)) from None

"""The structure of a database against what it should be: a file beside the plan, or the last proof. Drift as a diff.

A committed file is the truth where there is one: every difference fails. Without it, the structure of the last proof is
what there was; what has come or changed since is told, because people change structures, and what is *gone* fails
once: by the next proof it has been the structure of the last one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from backstay.facts import Verdict
from backstay.values import count, say_moment

MOST_SHOWN = 12
"""Lines of a diff that are shown; the others are counted. A line shows 160 characters at most."""
LONGEST_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Reference:
    """What the structure is compared with."""

    lines: tuple[str, ...]
    name: str
    """`schema.txt`."""
    kind: Literal["file", "proof"]
    at: datetime | None = None
    """Of a proof: when it was given."""


@dataclass(frozen=True, slots=True)
class Drift:
    gone: tuple[str, ...]
    come: tuple[str, ...]
    changed: tuple[tuple[str, str], ...]
    """Before and now."""

    def __bool__(self) -> bool:
        return bool(self.gone or self.come or self.changed)

    def diff(self) -> Iterator[str]:
        """`- table public.a: …`, `+ index public.b: …`; a change is both."""
        yield from (f"- {line}" for line in self.gone)
        for before, now in self.changed:
            yield f"- {before}"
            yield f"+ {now}"
        yield from (f"+ {line}" for line in self.come)


def drift(before: Iterable[str], now: Iterable[str]) -> Drift:
    """By object: the same object with another line is a change."""
    early, late = _by_object(before), _by_object(now)
    return Drift(
        gone=tuple(early[name] for name in sorted(early.keys() - late.keys())),
        come=tuple(late[name] for name in sorted(late.keys() - early.keys())),
        changed=tuple(
            (early[name], late[name]) for name in sorted(early.keys() & late.keys()) if early[name] != late[name]
        ),
    )


def _by_object(lines: Iterable[str]) -> dict[str, str]:
    cleaned = ("".join(letter for letter in line.strip() if letter.isprintable()) for line in lines)
    return {line.partition(": ")[0]: line for line in cleaned if line and not line.startswith("#")}


def judge_structure(now: Sequence[str], reference: Reference | None) -> tuple[Verdict, str]:
    """S02. One sentence, and the diff in it: `2 differences from schema.txt: - table public.a: …; + …`."""
    total = count(len(now), "object")
    if reference is None:
        return Verdict.PASSED, f"{total}; there is no earlier structure to compare with"
    found = drift(reference.lines, now)
    if reference.kind == "file":
        of = f"those of {reference.name}"
        if not found:
            return Verdict.PASSED, f"{total}, exactly {of}"
        return Verdict.FAILED, f"{_counted(found)} against {reference.name}: {_shown(found)}"
    since = f"the proof of {say_moment(reference.at)}" if reference.at is not None else "the last proof"
    if not found:
        return Verdict.PASSED, f"{total}, as in {since}"
    said = f"{_counted(found)} since {since}: {_shown(found)}"
    return (Verdict.FAILED if found.gone else Verdict.PASSED), said


def _counted(found: Drift) -> str:
    parts = [(len(found.gone), "gone"), (len(found.changed), "changed"), (len(found.come), "new")]
    return ", ".join(f"{number} {word}" for number, word in parts if number)


def _shown(found: Drift) -> str:
    lines = list(found.diff())
    shown = [line if len(line) <= LONGEST_SHOWN else f"{line[: LONGEST_SHOWN - 1]}…" for line in lines[:MOST_SHOWN]]
    more = f"; and {count(len(lines) - MOST_SHOWN, 'more line')}" if len(lines) > MOST_SHOWN else ""
    return "; ".join(shown) + more

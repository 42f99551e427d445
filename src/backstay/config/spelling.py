"""The nearest valid spelling of something misspelled."""

import difflib
from collections.abc import Iterable

from backstay.config.nodes import clipped


def quoted(text: str) -> str:
    """What somebody wrote, in backticks, on one line, cut where it is long."""
    return f"`{clipped(text)}`"


MOST_COMPARED = 700
"""How many known words one misspelled word is compared with: enough for people, and bounded for everybody else."""

MOST_NEARBY = 100
"""How many of the latest names are looked at where each of many places may misspell one of many."""


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.65) -> str | None:
    """The known word that `word` was most likely meant to be, or None where nothing is near."""
    by_lowered = {k.lower(): k for k in known}
    lowered = word[:64].lower()
    for variant in (lowered, lowered.replace("_", "-"), lowered.replace("-", "_"), lowered.replace(" ", "-")):
        if variant in by_lowered:
            return by_lowered[variant]
    far = 2 + len(lowered) // 3
    alike = sorted(
        (k for k in by_lowered if abs(len(k) - len(lowered)) <= far), key=lambda k: (abs(len(k) - len(word)), k)
    )
    found = difflib.get_close_matches(lowered, alike[:MOST_COMPARED], n=1, cutoff=cutoff)
    return by_lowered[found[0]] if found else None


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean x?` with the nearest, else `; known: a, b`, for the end of a message."""
    names = list(known)
    near = nearest(word, names)
    if near is not None and near != word:
        return f"; did you mean `{near}`?"
    if not names:
        return ""
    shown = ", ".join(sorted(names)[:12])
    return f"; known: {shown}" + (", …" if len(names) > 12 else "")

"""Which tables a sample looks at: a few, others each time, the same ones for the same point."""

from collections.abc import Iterable
from hashlib import sha256

SAMPLE = 20
"""So many tables are counted and looked through in the tier *sample*."""


def sampled(tables: Iterable[str], seed: str, most: int = SAMPLE) -> tuple[str, ...]:
    """At most `most` of the tables, by their names. `seed`: the id of the point, so that whoever proves it again looks
    at the same tables, and who proves another one at others."""
    every = sorted(set(tables), key=lambda name: sha256(f"{seed}\n{name}".encode()).digest())
    return tuple(sorted(every[:most]))

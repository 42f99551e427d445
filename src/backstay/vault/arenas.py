"""Fewer pools of memory in the C library of Linux.

glibc gives each thread a pool of its own, up to eight for a processor, and what a thread freed stays in its pool. The
threads of a restore take turns with large pieces, so each pool grows to the most that any of them once needed: a
restore of 4 GB took 190 MB like that, and takes 130 with two pools.
"""

import ctypes

_ARENA_MAX = -8
"""mallopt(3): M_ARENA_MAX."""
ENOUGH = 2


def few_arenas() -> None:
    """For the whole process, from now on: new threads share what is there. Elsewhere nothing happens."""
    try:
        ctypes.CDLL(None).mallopt(_ARENA_MAX, ENOUGH)
    except (OSError, AttributeError):
        return

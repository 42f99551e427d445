"""The same work on many things, a few at once and in order: stores answer late, and C libraries let others run."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")

MOST_THREADS = 16


def pool(name: str) -> ThreadPoolExecutor:
    """Two threads for each core: half of the time they wait for the store."""
    return ThreadPoolExecutor(min(2 * len(os.sched_getaffinity(0)), MOST_THREADS), thread_name_prefix=name)


def each(threads: ThreadPoolExecutor, work: Callable[[A], B], items: Iterable[A], ahead: int = 8) -> Generator[B]:
    """What `work` makes of each item, in their order. At most `ahead` are begun and not yet asked for: that bounds the
    memory. Raises what `work` raises, in its place; what was begun by then is let run out."""
    under_way: deque[Future[B]] = deque()
    try:
        for item in items:
            under_way.append(threads.submit(work, item))
            if len(under_way) >= ahead:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()

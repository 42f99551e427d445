"""What is computed about a lattice: a grid of `dimensions` axes with `size` nodes along each.

Every node has a level: its distance from one corner. The widest level is how many nodes can be worked on at once,
the diameter how many rounds that takes; the product of the two says how much memory is borrowed and given back.
"""

from itertools import accumulate

MOST_DIMENSIONS = 9
MOST_SIZE = 100
"""The schema's CHECK has the same limits: 100 to the 9th still fits a bigint."""


def levels(dimensions: int, size: int) -> list[int]:
    """How many nodes lie at each distance from the corner, nearest first.

    Each axis adds 0 to size-1 to the distance, so the counts are folded with `size` ones per axis: a
    sliding sum, here as a difference of running totals.
    """
    counts = [1]
    for _ in range(dimensions):
        totals = [0, *accumulate(counts + [0] * (size - 1))]
        counts = [totals[k + 1] - totals[max(0, k + 1 - size)] for k in range(len(totals) - 1)]
    return counts


def study(dimensions: int, size: int) -> dict[str, int]:
    """The small computed result that is kept with a lattice."""
    assert 1 <= dimensions <= MOST_DIMENSIONS
    assert 1 <= size <= MOST_SIZE
    return {
        "nodes": size**dimensions,
        "edges": dimensions * (size - 1) * size ** (dimensions - 1),
        "diameter": dimensions * (size - 1),
        "widest_level": max(levels(dimensions, size)),
    }

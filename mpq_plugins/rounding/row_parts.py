"""Rows of a weight, some at a time: what is worked with takes a few copies of these rows, and not of a wide weight."""

from __future__ import annotations

from collections.abc import Iterator

WIDTH = 2**12
"""Rows, of all groups, that are searched at once: enough for large matrix products, few enough for the cache."""
ELEMENTS = 2**22
"""Elements of a weight that are worked with at once, but for LEAST rows: 16 MB, a few times over."""
LEAST = 2**8
"""Rows, of all groups, that are worked with at once at least: a loop over the inputs takes hardly longer for so many
than for a few, since its time is that of beginning each operation."""


def at_once(size: int) -> int:
    """How many rows of so many inputs are worked with at once, at most.

    >>> at_once(9), at_once(4608), at_once(25088)
    (4096, 910, 256)
    """
    return min(WIDTH, max(LEAST, ELEMENTS // max(size, 1)))


def row_parts(shape: tuple[int, ...]) -> Iterator[slice]:
    """Slices of the rows of [groups, rows, in].

    >>> list(row_parts((1, 500, 2**14)))
    [slice(0, 256, None), slice(256, 512, None)]
    """
    groups, rows, size = shape
    step = max(1, at_once(size) // groups)
    for start in range(0, rows, step):
        yield slice(start, start + step)

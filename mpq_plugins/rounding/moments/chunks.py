"""The calibration set cut into chunks of a fixed size, however the user's batches were cut.

What is drawn at random or looked at in part goes by grains: runs of samples that begin at multiples
of GRAIN, counted from the first sample of the set. A chunk holds whole grains, so another size of
chunk, a multiple of GRAIN, changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

GRAIN = 32
CHUNK = 2 * GRAIN
"""Samples that are in memory at once, in every adapter and in every pass over the data."""


@dataclass(frozen=True)
class Piece:
    """Samples start .. stop - 1 of one of the user's batches."""

    batch: int
    start: int
    stop: int


@dataclass(frozen=True)
class Run:
    """Samples start .. stop - 1 of a chunk, all of one grain; ``first`` is the place of the first in its grain."""

    grain: int
    first: int
    start: int
    stop: int


def cut(lengths: Sequence[int], kinds: Sequence[Hashable | None], size: int = CHUNK) -> list[tuple[Piece, ...]]:
    """Chunks of ``size`` samples, each made of pieces of batches; the last one may be smaller.

    lengths: samples of each batch. kinds: what two batches must have in common to be joined (shape and
    type of a sample); None for a batch that cannot be split, which is a chunk of its own.

    >>> [[(p.batch, p.start, p.stop) for p in chunk] for chunk in cut([3, 5], ["a", "a"], 4)]
    [[(0, 0, 3), (1, 0, 1)], [(1, 1, 5)]]
    """
    chunks: list[tuple[Piece, ...]] = []
    pending: list[Piece] = []
    room, last = size, None
    for batch, (length, kind) in enumerate(zip(lengths, kinds, strict=True)):
        if pending and (kind is None or kind != last):
            chunks.append(tuple(pending))
            pending, room = [], size
        last = kind
        if kind is None:
            chunks.append((Piece(batch, 0, length),))
            continue
        start = 0
        while start < length:
            stop = min(length, start + room)
            pending.append(Piece(batch, start, stop))
            room, start = room - (stop - start), stop
            if not room:
                chunks.append(tuple(pending))
                pending, room = [], size
    return [*chunks, tuple(pending)] if pending else chunks


def in_chunks(
    batches: Sequence[Sequence[Any]],
    lengths: Sequence[int],
    kinds: Sequence[Hashable | None],
    size: int,
    join: Callable[[list[Any]], Any],
) -> list[tuple[Any, ...]]:
    """The samples of batches of tensors in chunks, cut as ``cut`` says.

    join: puts tensors together along their first axis.
    """
    chunks = []
    for pieces in cut(lengths, kinds, size):
        parts = [
            tuple(batches[p.batch])
            if kinds[p.batch] is None
            else tuple(tensor[p.start : p.stop] for tensor in batches[p.batch])
            for p in pieces
        ]
        chunks.append(parts[0] if len(parts) == 1 else tuple(join(list(each)) for each in zip(*parts, strict=True)))
    return chunks


def grains(first: int, samples: int) -> list[Run]:
    """A chunk of ``samples`` samples, of which the first is number ``first`` of the set, cut at multiples of GRAIN.

    >>> grains(30, 5)
    [Run(grain=0, first=30, start=0, stop=2), Run(grain=1, first=0, start=2, stop=5)]
    """
    runs, start = [], 0
    while start < samples:
        grain, inside = divmod(first + start, GRAIN)
        stop = min(samples, start + GRAIN - inside)
        runs.append(Run(grain, inside, start, stop))
        start = stop
    return runs

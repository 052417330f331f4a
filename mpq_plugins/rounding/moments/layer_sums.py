"""The moments that rounding needs, as sums of products that are exact, in any order."""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.grid import Grid
from mpq_plugins.rounding.moments.few_moments import FewMoments
from mpq_plugins.rounding.moments.layer_moments import Array, LayerMoments
from mpq_plugins.rounding.moments.snapping import EXACT_BITS, snap
from mpq_plugins.rounding.thin import few

_EXACT_FLOAT32 = 2**24
_WORTHWHILE = 2**10
"""Positions that a float32 product should sum before it is faster than a float64 one."""


class Part(NamedTuple):
    """Some positions. shape: of their columns. kept: these, and the snapped outputs wished there, if not summed yet."""

    shape: tuple[int, ...]
    kept: tuple[NDArray[Any], Array] | None = None


class LayerSums:
    """Sums the moments of a layer from the codes of its quantized input and the output that it should give.

    grid: of the input. largest: the largest magnitude of the wished outputs of the whole calibration set. positions:
    how many columns there will be, at most.

    The wished output is snapped to as many bits as its products with codes leave of float64's 53, so no sum
    rounds. As long as columns are few beside the inputs, they are kept as they are, and no product is made.
    Raises EmptyCalibration if there is nothing to sum.
    """

    def __init__(self, grid: Grid, largest: float, positions: int) -> None:
        self._step = float(grid.steps[0])
        self._low, self._high = grid.low, grid.high
        self._bits = EXACT_BITS - max(-grid.low, grid.high).bit_length() - math.ceil(math.log2(max(positions, 2)))
        self._largest = largest
        self._count = 0
        self._kept: list[tuple[NDArray[Any], Array]] = []
        self._sums: list[Array] = []
        self._adding = threading.Lock()

    def update(self, columns: NDArray[Any], wished: NDArray[Any]) -> None:
        """Add columns [groups, in, positions] of codes, floats, and the outputs [out, positions] wished there."""
        self.add(self.part(columns, wished))

    def part(self, columns: NDArray[Any], wished: NDArray[Any]) -> Part:
        """The work on such columns, which several threads may do at once; ``add`` takes what it gives, in order.

        Sums are exact, so their order does not matter; that of columns which are kept does.
        """
        y = snap(wished, self._largest, self._bits)
        if few(columns.shape[2], columns.shape[1]):
            return Part(columns.shape, (columns, y))
        self._add(columns, y)
        return Part(columns.shape)

    def add(self, part: Part) -> None:
        """Count a part in."""
        self._count += part.shape[2]
        if part.kept is not None:
            self._kept.append(part.kept)
        if not few(self._count, part.shape[1]):
            for kept in self._kept:
                self._add(*kept)
            self._kept = []

    def moments(self) -> LayerMoments | FewMoments:
        """The averages; the sums are used up."""
        if not self._count:
            return LayerMoments.measure(np.zeros((0, 1)), np.zeros((0, 1)))
        if self._kept:
            codes, wished = (np.concatenate(parts, axis=-1) for parts in zip(*self._kept, strict=True))
            return FewMoments.of_codes(codes.astype(np.float64), self._step, wished)
        for total in self._sums:
            total /= self._count
        gram, mean, cross, output = self._sums
        gram *= self._step**2
        return LayerMoments(gram, mean * self._step, cross * self._step, output)

    def _add(self, columns: NDArray[Any], y: Array) -> None:
        groups, inputs, _ = columns.shape
        with self._adding:
            if not self._sums:
                shapes = (groups, inputs, inputs), (groups, inputs), (len(y), inputs), (len(y),)
                self._sums = [np.zeros(shape) for shape in shapes]
        gram, mean, cross, output = self._sums
        self._add_gram(gram, columns)
        codes = columns.astype(np.float64)
        crossed = (y.reshape(groups, -1, y.shape[1]) @ codes.transpose(0, 2, 1)).reshape(cross.shape)
        with self._adding:
            mean += codes.sum(axis=2)
            cross += crossed
            output += y.sum(axis=1)

    def _add_gram(self, total: Array, codes: NDArray[Any]) -> None:
        """Products of codes: in float32 as far as its sums are exact, where that pays.

        Of codes without a sign half the largest is taken off, and what that costs put back: all are whole numbers.
        """
        half = 0 if self._low < 0 else (self._high + 1) // 2
        largest = max(self._high - half, half - self._low)
        block = _EXACT_FLOAT32 // max(largest, 1) ** 2
        if block < min(_WORTHWHILE, codes.shape[2]):
            doubles = codes.astype(np.float64)
            products = doubles @ doubles.transpose(0, 2, 1)
            with self._adding:
                total += products
            return
        sums = np.zeros(codes.shape[:2])
        for start in range(0, codes.shape[2], block):
            part = codes[:, :, start : start + block].astype(np.float32)
            part -= half
            products = part @ part.transpose(0, 2, 1)
            with self._adding:
                total += products
            sums += part.sum(axis=2, dtype=np.float64)
        if half:
            sums *= half
            sums += half**2 * codes.shape[2] / 2
            with self._adding:
                total += sums[:, :, None]
                total += sums[:, None, :]

"""Bins made of the bits of floats: every octave of magnitudes is cut into ``2**resolution`` equal bins.

Why these bins: a power-of-two grid with threshold ``T = 2**e`` and step ``s = T * 2**-shift`` rounds and
clips at multiples of ``s/2``. In the octave ``[2**j, 2**(j+1))`` a bin is ``2**(j-resolution)`` wide. An
octave is either beyond the threshold (``2**j >= T``), where every value is clipped, or within it, where
``s/2 >= 2**(j-shift)``. So with ``resolution >= shift`` NO bin has a decision boundary of ANY such grid
inside it, whatever its exponent: all values of a bin go to the same code, and the count and the first two
moments of each bin give every squared and absolute error exactly, to float64 rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_LAYOUT: dict[np.dtype[Any], tuple[type[np.signedinteger[Any]], int, int]] = {
    np.dtype(np.float32): (np.int32, 23, 127),
    np.dtype(np.float64): (np.int64, 52, 1023),
}


class Layout(NamedTuple):
    """Of the bits of floats, read as ``integer``: how many tell the place in a bin, and what the others are below bins.

    Magnitudes of the lowest bin have ``before + 1`` there.
    """

    integer: type[np.signedinteger[Any]]
    fraction: int
    before: int


@dataclass(frozen=True)
class FloatBins:
    """Bins of magnitudes from ``2**lowest`` up, ``octaves`` octaves of ``2**resolution`` bins each.

    A value is described within its bin by u, its distance in bin widths (0 .. 1) from the bin's
    anchor: the lower edge of an even bin, the upper edge of an odd one. A grid value can touch a bin
    at its anchor only, so that no error computed from sums of u and u**2 suffers from cancellation.
    """

    resolution: int
    lowest: int
    octaves: int

    @property
    def per_octave(self) -> int:
        """Bins of one octave."""
        return int(2**self.resolution)

    @property
    def slots(self) -> int:
        """Bins of one sign, and one slot before them for magnitudes below the lowest octave."""
        return 1 + self.octaves * self.per_octave

    def layout(self, dtype: np.dtype[Any]) -> Layout:
        """Where the bits of float32 or float64 say in which slot they are."""
        integer, mantissa, bias = _LAYOUT[dtype]
        fraction = mantissa - self.resolution
        return Layout(integer, fraction, (((self.lowest + bias) << mantissa) >> fraction) - 1)

    @property
    def octave_exponents(self) -> NDArray[np.int64]:
        """j of each octave [2**j, 2**(j+1))."""
        return np.arange(self.lowest, self.lowest + self.octaves)

    def unit_anchors(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(anchor, direction times width, middle) of each bin of the octave [1, 2)."""
        k = np.arange(self.per_octave)
        width = 1.0 / self.per_octave
        odd = k % 2
        columns = 1.0 + (k + odd) * width, (1 - 2 * odd) * width, 1.0 + (k + 0.5) * width
        return np.asarray(columns[0]), np.asarray(columns[1]), np.asarray(columns[2])


@dataclass(frozen=True)
class Moments:
    """Sums over the values in each bin, for each row of an array and each sign.

    count, first, second: sum of w, w*u and w*u**2, float64 [rows, 2, octaves, bins of an octave]; w is
    the weight (1 without weights); index 0 of the second axis holds values >= 0, index 1 those below.
    small: sum of w, w*abs(x) and w*x**2 of the nonzero values below the lowest octave, [rows, 2, 3].
    """

    bins: FloatBins
    count: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    small: NDArray[np.float64]


def octave_above(magnitude: float) -> int:
    """The smallest j with ``magnitude < 2**j``.

    >>> octave_above(0.9), octave_above(1.0)
    (0, 1)
    """
    return int(np.frexp(magnitude)[1])

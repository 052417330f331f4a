"""What halving a grid again and again adds to the distances of an octave's values from it.

An octave [1, 2) is cut into ``2**resolution`` bins, and a bin's values are known by their distance from its anchor, the
lower edge of an even bin, the upper edge of an odd one: from the nearest multiple of two bin widths. Take every other
multiple away, and a value near one of those that go is nearest to the multiple on its other side, at the step less its
distance d: its error grows by ``step - 2*d``, its squared error by ``step * (step - 2*d)``, neither negative. Two
neighbouring bins then share an anchor and become one, and so on until one is left: all errors at all steps in two
numbers for a bin, without a difference of large numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Halvings:
    """Sums over the values of octaves.

    Lengths are in units of an octave's lower end, which is 1. Halving t is from a step of ``2**(t+1)`` bin widths to
    twice that. Only one bin is left of the last one, t = resolution - 1; it is taken towards 2.

    columns: [..., octaves, 2 * resolution + 4] all but the next, side by side, as the properties name them.
    squared: [..., octaves] sum of the squared distances from the anchors of the bins.
    """

    columns: Array
    squared: Array

    @classmethod
    def of(cls, count: Array, first: Array, second: Array) -> Halvings:
        """Those of bins [..., octaves, bins of an octave]: number, distances and squares of their values, in widths."""
        resolution = count.shape[-1].bit_length() - 1
        per_count, per_distance = _columns(resolution)
        columns = count @ per_count
        columns += first @ per_distance
        return cls(columns, second.sum(axis=-1) * 4.0**-resolution)

    @classmethod
    def stacked(cls, parts: Sequence[Halvings]) -> Halvings:
        """The first axes of all parts, one after the other."""
        return cls(np.concatenate([p.columns for p in parts]), np.concatenate([p.squared for p in parts]))

    @property
    def resolution(self) -> int:
        """Base-two logarithm of the bins of an octave."""
        return int(self.columns.shape[-1]) // 2 - 2

    @property
    def growth(self) -> Array:
        """[..., octaves, resolution] by halving: the sum of ``step - 2*d`` over the values whose multiple goes."""
        return self.columns[..., : self.resolution]

    @property
    def topmost(self) -> Array:
        """[..., octaves, resolution + 1] the same of the values within half a step of 2, whether they move or not."""
        return self.columns[..., self.resolution : 2 * self.resolution + 1]

    @property
    def count(self) -> Array:
        """[..., octaves] number of values."""
        return self.columns[..., -3]

    @property
    def first(self) -> Array:
        """[..., octaves] sum of the distances from 1."""
        return self.columns[..., -2]

    @property
    def second(self) -> Array:
        """[..., octaves] sum of the squared distances from 1."""
        return np.asarray(self.squared + self.growth[..., :-1] @ self.steps[:-2] + self.topmost[..., -2])

    @property
    def distance(self) -> Array:
        """[..., octaves] sum of the distances from the anchors of the bins."""
        return self.columns[..., -1]

    @cached_property
    def steps(self) -> Array:
        """[resolution + 1]: the step before each halving, and that after the last."""
        return np.ldexp(1.0, np.arange(1 - self.resolution, 2))

    def residual(self, power: int) -> Array:
        """Sum of ``distance**power`` (1 or 2) from the nearest multiple of each step: [..., octaves, steps].

        The steps are 4, at which all goes to zero, 2, 1 and on by halves, resolution + 2 of them.
        """
        sums = np.empty((*self.count.shape, self.resolution + 2))
        sums[..., -1] = self.squared if power == 2 else self.distance
        # each step but the finest has the growth of all halvings up to it
        halved = np.tri(self.resolution)[::-1].T * self.steps[:-1, None] ** (power - 1)
        np.add(self.growth @ halved, sums[..., -1:], out=sums[..., 1:-1])
        sums[..., 0] = self.count + self.first if power == 1 else self.count + 2 * self.first + self.second
        return sums


@lru_cache(maxsize=16)
def _columns(resolution: int) -> tuple[Array, Array]:
    """What one value, and one bin width of distance, of each bin adds to growth, topmost, count, first and distance."""
    unit, none = np.eye(2**resolution), np.zeros((2**resolution, 2**resolution))
    return _halved(unit, none), _halved(none, unit * 0.5**resolution)


def _halved(count: Array, distance: Array) -> Array:
    """The columns of bins [..., bins of an octave] that hold so many values, at distances of this sum."""
    resolution = count.shape[-1].bit_length() - 1
    growth, topmost = [], []
    sums = distance.sum(axis=-1)
    for t in range(1 - resolution, 0):
        step = 2.0**t
        topmost.append(step * count[..., -1] - 2 * distance[..., -1])
        # of four bins the two in the middle are at the multiple that goes
        far = step * count - distance
        growth.append((far - distance)[..., 1::4].sum(axis=-1) + (far - distance)[..., 2::4].sum(axis=-1))
        count = count[..., ::2] + count[..., 1::2]
        pairs = distance[..., ::4] + far[..., 1::4], distance[..., 3::4] + far[..., 2::4]
        distance = np.stack(pairs, axis=-1).reshape(count.shape)
    (below, above), (near_one, near_two) = np.moveaxis(count, -1, 0), np.moveaxis(distance, -1, 0)
    growth.append(below - 2 * near_one)
    topmost.append(above - 2 * near_two)
    topmost.append(2 * (near_one + above - near_two))
    return np.stack([*growth, *topmost, below + above, near_one + above - near_two, sums], axis=-1)

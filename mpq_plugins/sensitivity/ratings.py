"""Ratings: the grid and the predicted loss of every candidate of every site."""

from __future__ import annotations

from collections.abc import Mapping

from mpq_plugins.allocation.by_bits import non_increasing
from mpq_plugins.grid import Grid

Rated = tuple[Grid, float]
Ratings = Mapping[str, Mapping[int, Rated]]
"""Site -> bits -> (grid, predicted loss), bits increasing."""


def losses(ratings: Ratings) -> dict[str, list[float]]:
    """The losses of each site by increasing bits, never rising with more bits.

    >>> grids = {bits: Grid.power_of_two(bits, 0) for bits in (2, 4)}
    >>> losses({"fc.weight": {2: (grids[2], 0.5), 4: (grids[4], 0.75)}})
    {'fc.weight': [0.75, 0.75]}
    """
    return {
        name: list(non_increasing({bits: loss for bits, (_, loss) in by_bits.items()}).values())
        for name, by_bits in ratings.items()
    }

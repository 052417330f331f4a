"""Grids when training begins: of least error, and whether they hold what an activation is."""

from __future__ import annotations

from collections.abc import Mapping

from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import search_threshold
from mpq_plugins.thresholds.weighted_points import Points
from mpq_plugins.training.slot import Observed, Slot

MOST = 0.5
"""Share of an activation's values, zeros aside, that may lie beyond its grid when training begins."""


def least_error_grid(slot: Slot, observed: Observed, bits: int) -> Grid:
    """The power-of-two grid of least squared error; of a weight one for each channel, where the slot has them."""
    axis = None if isinstance(observed, Histogram) else slot.axis
    return search_threshold(observed, bits, slot.signed, "mse", axis, slot.narrow)


def share_beyond(grid: Grid, histogram: Histogram) -> float:
    """Share of the values, zeros aside, that a grid of one step clips; 0 where there are only zeros.

    >>> import numpy as np
    >>> histogram = Histogram()
    >>> histogram.update(np.array([0.0, 0.0, 1.0, 1.5, 7.0]))
    >>> round(share_beyond(Grid.power_of_two(4, 1, signed=False), histogram), 2)
    0.33
    """
    points = Points.of(histogram)
    values = points.values[0]
    live = points.weights[0] * (values != 0)
    if not live.sum():
        return 0.0
    low, high = grid.step * (grid.low - 0.5), grid.step * (grid.high + 0.5)
    return float((live * ((values < low) | (values > high))).sum() / live.sum())


def saturating(grids: Mapping[str, Grid], histograms: Mapping[str, Histogram]) -> list[str]:
    """Those of which more than MOST saturates, in the order of the histograms."""
    return [name for name, histogram in histograms.items() if share_beyond(grids[name], histogram) > MOST]


def check_holds(grids: Mapping[str, Grid], histograms: Mapping[str, Histogram]) -> None:
    """Raise MPQError naming the first activation of which more than MOST would saturate when training begins."""
    for name in saturating(grids, histograms)[:1]:
        share = share_beyond(grids[name], histograms[name])
        raise MPQError(
            f"site {name!r}: {share:.0%} of its values in training lie beyond the grid that training would start on "
            f"({grids[name]}), where nothing learns; show it batches as training has them, or lower the learning rate "
            "until its grids have started"
        )

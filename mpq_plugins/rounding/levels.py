"""The codes that rows of a weight may take."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.grid import Grid
from mpq_plugins.rounding.moments.layer_moments import Array


@dataclass(frozen=True)
class Levels:
    """Step, lowest and highest code of every row, [groups, rows]."""

    step: Array
    low: Array
    high: Array

    def nearest(self, values: NDArray[Any]) -> NDArray[Any]:
        """Codes of values [..., groups, rows]: half to even, clipped."""
        return np.clip(np.rint(values / self.step), self.low, self.high)

    def rows(self, part: slice) -> Levels:
        """Those of some rows of every group."""
        return Levels(self.step[:, part], self.low[:, part], self.high[:, part])


def levels_on(grid: Grid, shape: tuple[int, ...]) -> Levels:
    """Of a grid, one step or one for each row of all groups, for rows [groups, rows]."""
    step = np.broadcast_to(np.asarray(grid.steps), (math.prod(shape),)).reshape(shape)
    return Levels(step, np.full(shape, float(grid.low)), np.full(shape, float(grid.high)))


def along_rows(grid: Grid, rows: int) -> Grid:
    """The grid for the weight as a matrix whose rows are its output channels: axis 0 if it has one."""
    if grid.axis is None:
        return grid
    if len(grid.steps) != rows:
        raise GridError(f"a grid of {len(grid.steps)} channels does not fit {rows} output channels")
    return replace(grid, axis=0)

"""The accumulator of an integer layer: its step, and the int32 codes of a bias on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.grid import Grid

INT32_LIMIT = 2**31 - 1


def accumulator_step(input_step: float, grid: Grid) -> NDArray[np.float64]:
    """The step of an integer accumulator, ``input step * weight step``: one, or one per output channel."""
    return np.asarray(input_step * np.asarray(grid.steps))


def snap_bias(bias: ArrayLike, input_step: float, grid: Grid, name: str = "bias") -> NDArray[np.float64]:
    """The bias on the accumulator's grid, half to even, as the int32 that integer kernels add.

    bias: [out]; input_step: of the layer's input activation; grid: of its weight; name: for messages.
    Raises GridError where a code leaves int32 (narrow: +-(2**31 - 1)).

    >>> snap_bias([0.3, -0.1], 0.5, Grid.power_of_two(3, 0))
    array([ 0.25 , -0.125])
    """
    values, step = np.asarray(bias, dtype=np.float64), accumulator_step(input_step, grid)
    codes = np.rint(values / step)
    largest = float(np.abs(codes).max(initial=0.0))
    if not largest <= INT32_LIMIT:
        raise GridError(
            f"{name}: code {largest:.4g} on the accumulator step {float(np.min(step)):.3g} does not fit int32"
            f" (bias up to {float(np.abs(values).max()):.4g}); give weight or input a larger threshold"
        )
    return np.asarray(codes * step)

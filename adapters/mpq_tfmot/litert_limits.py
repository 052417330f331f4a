"""What XNNPACK refuses to prepare: an output far finer than its accumulator. Found by trying ai-edge-litert 2.3."""

from __future__ import annotations

import numpy as np

from mpq_plugins.errors import GridError
from mpq_tfmot.arithmetic import XNNPACK
from mpq_tfmot.simulation import Simulation, accumulator_steps

LARGEST_GAIN = 2.0**8
"""Accumulator step over output step of a weighted op has to be less."""


def check_limits(simulation: Simulation) -> None:
    """Raise GridError, naming the site and the numbers, for steps that the interpreter would refuse."""
    if simulation.kernels != XNNPACK:
        return
    for op in simulation.model.layers:
        output = simulation.grid(op).steps[0]
        source = simulation.grids[simulation.grid_of[op.inputs[0]]]
        gain = float(np.max(accumulator_steps(op, simulation.grids[op.weight_site], source))) / output
        if gain >= LARGEST_GAIN:
            raise GridError(
                f"site {op.name!r}: its accumulator's step is {gain:g} times the step {output:g} of its output, and "
                f"XNNPACK takes less than {LARGEST_GAIN:g}; give the output a larger threshold"
            )

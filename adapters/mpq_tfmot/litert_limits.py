"""What XNNPACK refuses to prepare or computes wrongly: an output far finer than what goes into it.

Found by trying ai-edge-litert 2.3: such a layer is refused, and such an add saturates at wrong codes.
"""

from __future__ import annotations

import numpy as np

from mpq_plugins.errors import GridError
from mpq_tfmot.arithmetic import XNNPACK
from mpq_tfmot.canonical_ops import Op
from mpq_tfmot.simulation import Simulation, accumulator_steps

LARGEST_GAIN = 2.0**8
"""The step of an accumulator, or of an operand of an add, over the step of the output has to be less."""


def check_limits(simulation: Simulation) -> None:
    """Raise GridError, naming the site and the numbers, for steps that the interpreter cannot serve."""
    if simulation.kernels != XNNPACK:
        return
    for op in simulation.model.ops:
        if not op.weighted and op.kind != "add":
            continue
        what, step = _coarsest_input(simulation, op)
        output = simulation.grid(op).steps[0]
        if step / output >= LARGEST_GAIN:
            raise GridError(
                f"site {op.name!r}: its {what}'s step is {step / output:g} times the step {output:g} of its output, "
                f"and XNNPACK takes less than {LARGEST_GAIN:g}; give the output a larger threshold"
            )


def _coarsest_input(simulation: Simulation, op: Op) -> tuple[str, float]:
    sources = [simulation.grids[simulation.grid_of[name]] for name in op.inputs]
    if not op.weighted:
        return "operand", max(source.steps[0] for source in sources)
    return "accumulator", float(np.max(accumulator_steps(op, simulation.grids[op.weight_site], sources[0])))

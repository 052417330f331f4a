"""Does an integer program give exactly the numbers of the simulation that it was made from?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import ProgramError
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.integers.entrance import input_codes, output_values
from mpq_plugins.integers.executor import run
from mpq_plugins.integers.program import Program
from mpq_plugins.recipe.verification import Verification

Array = NDArray[Any]


def compare_with(program: Program, simulation: Simulation, batches: Iterable[Sequence[Any]]) -> Verification:
    """Compare a program with its simulation, on batches of the arguments: tensors of its runner, and numbers."""
    graph, run = simulation.graph, simulation.runner
    ends, arguments = graph.integer_outputs, [node.name for node in graph.arguments]

    def runs() -> Iterator[tuple[dict[str, Any], list[Any]]]:
        for batch in batches:
            found = simulation.run(batch, ends)
            given = {name: _array(run, x) for name, x in zip(arguments, batch, strict=True)}
            yield given, [run.numpy(simulation.value(name, found[name])) for name in ends]

    return compare(program, runs())


def compare(program: Program, runs: Iterable[tuple[Mapping[str, ArrayLike], Sequence[ArrayLike]]]) -> Verification:
    """Run the program in NumPy and compare every output element.

    runs: pairs of float inputs by name, and the simulation's values of the program's outputs in order.
    Raises ProgramError where the two have different outputs.
    """
    largest, mismatched, elements, first = 0.0, 0, 0, None
    for inputs, wanted in runs:
        values = output_values(program, run(program, input_codes(program, inputs)))
        if len(wanted) != len(program.outputs):
            raise ProgramError(f"the program has {len(program.outputs)} outputs, its simulation {len(wanted)}")
        for name, expected in zip(program.outputs, wanted, strict=True):
            got, right = values[name].astype(np.float64), np.asarray(expected, dtype=np.float64)
            if got.shape != right.shape:
                raise ProgramError(f"output {name!r} has the shape {got.shape}, in the simulation {right.shape}")
            differences = np.abs(got - right)
            count = int(np.count_nonzero(differences))
            elements += differences.size
            mismatched += count
            if count:
                largest, first = max(largest, float(differences.max())), first or name
    return Verification(mismatched == 0, largest, mismatched, elements, first)


def _array(run: Runner, x: Any) -> Array:
    if isinstance(x, float):
        return np.asarray(x, np.float32)
    return np.asarray(x) if isinstance(x, int) else run.numpy(x)

"""Does a LiteRT model give exactly the numbers that were simulated, and if not, where not?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.litert.exporting import KEPT_LAYOUT
from mpq_plugins.exporters.litert.running import BATCH, facts_of, read, run_litert, tensor_names, with_outputs
from mpq_plugins.graph import compared
from mpq_plugins.graph.arithmetic import int8_zero_point
from mpq_plugins.graph.layout import laid_out
from mpq_plugins.graph.lookups import reads_whole_numbers
from mpq_plugins.graph.node import RAW, Graph
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.order import Order
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.recipe.verification import Verification


def compare(
    exported: str | PathLike[str] | bytes,
    simulation: Simulation,
    batches: Sequence[Sequence[NDArray[Any]]],
    kernels: str | None = None,
) -> Verification:
    """Compare a file, or its bytes, with its simulation, code by code.

    batches: the model's arguments, as the simulated graph takes them. kernels: what runs the file; by default those of
    the simulation's target. Where the model ends in float (softmax), the last integer tensors are compared.
    Raises ModelError where one of the two is not of the other's model, and for samples of another shape.
    """
    flat = read(exported)
    kernels = kernels or simulation.quantized.runtime.engine or "xnnpack"
    graph = simulation.graph
    arrays = _joined(graph, batches)
    orders = laid_out(graph, "NHWC", bool(facts_of(flat).get(KEPT_LAYOUT))).orders
    tensors = tensor_names(flat)
    found = _compared(flat, simulation, orders, arrays, kernels, _ends(graph, tensors))
    mismatched = sum(int(np.count_nonzero(d)) for d in found.values())
    off_by_one = sum(int(np.count_nonzero(np.abs(d) == 1)) for d in found.values())
    largest = max(
        (float(np.abs(d).max(initial=0)) * simulation.quantized.grid(name).steps[0] for name, d in found.items()),
        default=0.0,
    )
    first = None
    if mismatched:
        named = [node.name for node in graph.nodes if node.op not in RAW and node.site in tensors]
        every = _compared(flat, simulation, orders, arrays, kernels, named)
        first = next((graph[name].site for name, difference in every.items() if difference.any()), None)
    elements = sum(difference.size for difference in found.values())
    return Verification(
        not mismatched, largest, mismatched, elements, first, off_by_one, compared=compared.without_floats(graph)
    )


def _joined(graph: Graph, batches: Sequence[Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """The samples of all batches, by argument."""
    for batch in batches:
        if len(batch) != len(graph.arguments):
            raise ModelError(f"the model takes {len(graph.arguments)} inputs, and was given {len(batch)}")
        for node, array in zip(graph.arguments, batch, strict=True):
            if node.shape and np.shape(array)[1:] != node.shape[1:]:
                raise ModelError(
                    f"argument {node.name} of a batch has the shape {np.shape(array)}, and the model takes "
                    f"(samples, {', '.join(map(str, node.shape[1:]))})"
                )
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]


def _ends(graph: Graph, tensors: set[str]) -> list[str]:
    """The nodes whose tensors are compared; a clamp or transpose that changes nothing has no tensor of its own."""
    found = []
    for name in graph.integer_outputs:
        node = graph[name]
        while node.site not in tensors and op_of(node).grid == "alias":
            node = graph[node.inputs[0]]
        found.append(node.name)
    return list(dict.fromkeys(found))


def _compared(
    flat: bytes,
    simulation: Simulation,
    orders: Mapping[str, Order],
    arrays: Sequence[NDArray[Any]],
    kernels: str,
    names: Sequence[str],
) -> dict[str, NDArray[np.int64]]:
    """The differences of codes, by node, in the order of the names."""
    graph, run = simulation.graph, simulation.runner
    arrays = [
        np.asarray(array, np.int32 if reads_whole_numbers(graph, node.name) else np.float32)
        for node, array in zip(graph.arguments, arrays, strict=True)
    ]
    given = [orders[node.name].of(array) for node, array in zip(graph.arguments, arrays, strict=True)]
    sites = list(dict.fromkeys(graph[name].site for name in names))
    got = dict(zip(sites, run_litert(with_outputs(flat, sites), given, kernels), strict=True))
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    for start in range(0, len(arrays[0]), BATCH):
        tensors = [run.tensor(array[start : start + BATCH]) for array in arrays]
        values = simulation.run(tensors, names)
        for name in names:
            parts[name].append(orders[name].of(run.numpy(values[name])))
    differences = {}
    for name, wanted in parts.items():
        codes = got[graph[name].site].astype(np.int64) - int8_zero_point(simulation.quantized.grid(name))
        differences[name] = codes - np.rint(np.concatenate(wanted)).astype(np.int64)
    return differences

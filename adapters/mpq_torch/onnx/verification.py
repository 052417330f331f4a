"""Does an exported ONNX model give exactly the numbers that were simulated, and if not, where not?"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.grid import Grid
from mpq_plugins.onnx_graph.running import Simulated, compare
from mpq_plugins.verification import Verification
from mpq_torch.batches import as_batches, model_inputs
from mpq_torch.canonical_simulation import as_canonical
from mpq_torch.onnx.graph import integer_ends
from mpq_torch.simulation import SimulatedAverage, simulated_sites


def verify(
    model: str | PathLike[str] | bytes, simulated: nn.Module, inputs: Any, *, optimized: bool = True
) -> Verification:
    """Run an exported model in onnxruntime, on the CPU, and compare it with its simulation, element by element.

    model: the file, or its bytes. simulated: what ``fx.simulate`` returned for the same model and recipe.
    inputs: a tensor, or an iterable of batches. optimized: with all graph optimizations of onnxruntime, or none.
    Where the model ends in float (softmax), the last tensors of the integer part are compared.

    Raises ModelError when one of the two is not what export and simulate return, and PluginError where
    onnx or onnxruntime is not installed.
    """
    simulated = as_canonical(simulated)
    if not isinstance(simulated, fx.GraphModule) or not simulated_sites(simulated):
        raise ModelError("verify needs the model that fx.simulate returned as its second argument")
    batches = as_batches(inputs, model_inputs(simulated))
    return compare(model, _simulated(simulated, batches), optimized)


def _simulated(graph: fx.GraphModule, batches: list[tuple[Any, ...]]) -> Iterator[Simulated]:
    ends = integer_ends(graph)
    grids = dict(simulated_sites(graph)) | _averages(graph)
    grids = {node: grids[node] for node in graph.graph.nodes if node in grids}
    for batch in batches:
        values = _recorded(graph, batch, {*ends, *grids})

        def sites(values: dict[fx.Node, NDArray[Any]] = values) -> dict[str, tuple[NDArray[Any], float]]:
            return {str(node.meta["mpq_name"]): (values[node], grid.steps[0]) for node, grid in grids.items()}

        yield Simulated(_feeds(graph, batch), [values[node] for node in ends], sites)


def _averages(graph: fx.GraphModule) -> dict[fx.Node, Grid]:
    """The averages of a simulation: they compute, too, if on the grid of their input."""
    calls = [(n, graph.get_submodule(str(n.target))) for n in graph.graph.nodes if n.op == "call_module"]
    return {node: module.grid for node, module in calls if isinstance(module, SimulatedAverage)}


def _feeds(graph: fx.GraphModule, batch: tuple[Any, ...]) -> list[NDArray[Any]]:
    return [np.asarray(argument.detach(), np.float32) for argument in batch if isinstance(argument, Tensor)]


def _recorded(graph: fx.GraphModule, batch: tuple[Any, ...], nodes: set[fx.Node]) -> dict[fx.Node, NDArray[Any]]:
    values: dict[fx.Node, NDArray[Any]] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in nodes:
                values[n] = result.detach().numpy()
            return result

    with torch.no_grad():
        Recorder(graph).run(*batch)
    return values

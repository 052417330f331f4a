"""ONNX for torch models: ``export`` a recipe as QuantizeLinear / DequantizeLinear, ``verify`` it in onnxruntime.

Needs the extra ``[onnx]``. Search with ``target="onnxruntime"`` (``mpq_torch.fx.search``, ``constrain``
and ``simulate`` as for any target).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from mpq_plugins import plugins
from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.onnx import exporting
from mpq_plugins.exporters.onnx.comparing import Simulated, compare
from mpq_plugins.exporters.onnx.opsets import OLDEST_OPSET, check_opset
from mpq_plugins.exporters.onnx.sizes import FIXED
from mpq_plugins.grid import Grid
from mpq_plugins.recipe import Recipe
from mpq_plugins.verification import Verification
from mpq_torch.batches import as_batch, as_batches, model_inputs
from mpq_torch.reader.fitting import read_quantized
from mpq_torch.simulation import SimulatedAverage, simulated_sites

__all__ = ["export", "verify"]


def export(
    model: nn.Module,
    recipe: Recipe,
    example_inputs: Any,
    path: str | PathLike[str] | None = None,
    *,
    opset: int = OLDEST_OPSET,
    pack: bool = True,
    symmetric: bool = False,
    dynamic_batch: bool = True,
) -> bytes:
    """The model of a recipe as ONNX: QuantizeLinear, integers in between, DequantizeLinear; returns its bytes.

    model: what ``fx.constrain`` returned, or any model that the recipe fits, whose weights and biases
        are then rounded to nearest. Inputs and outputs are float32; the inputs have the names of the model's arguments.
    example_inputs: a tensor, or a tuple of the model's arguments, for the shapes.
    path: where to write the file; None writes none.
    opset: 21 or later; int2 weights from 25 on, which onnxruntime reads up to 26.
    pack: store weights of 4 bits and fewer two (int2: four) to a byte.
    symmetric: store signed activations in int8 with zero point 0, which compilers for accelerators ask
        for, instead of uint8. onnxruntime then computes in float32 where its integer kernels want one
        type; the numbers are the same.
    dynamic_batch: leave the first dimension open; False fixes it at that of the example.

    Below 8 bits, a Clip of the integers follows each QuantizeLinear. onnxruntime's integer kernels (all but those of
    transposed convolutions) are exact whatever the sums; without its graph optimizations it computes in float32,
    which is exact while no sum of products passes 2**24 steps of the accumulator.

    Raises TargetError for a recipe of another target, RecipeMismatch for one of another model, ModelError for an
    opset that is too old, for more than one dynamic dimension and for a path that cannot be written, UnsupportedOp
    for an op or an argument without a form in ONNX, and PluginError where onnx is not installed.
    """
    check_opset(opset)
    exporting.check_recipe(recipe, plugins.target(recipe.target))
    example = _example(model, example_inputs)
    reading, quantized = read_quantized(model, recipe, example)
    if dynamic_batch and reading.one_batch_size:
        raise ModelError(f"{reading.one_batch_size}; {FIXED}")
    batch = None if dynamic_batch else next((len(t) for t in example if t.dim()), 1)
    return exporting.export(quantized, path, opset=opset, pack=pack, symmetric=symmetric, batch=batch)


def _example(model: nn.Module, example_inputs: Any) -> tuple[Tensor, ...]:
    """The example as the model's arguments, all of them tensors. Raises ModelError for anything else."""
    parameters = [] if not isinstance(model, nn.Module) else inspect.signature(model.forward).parameters.values()
    any_number = any(p.kind == p.VAR_POSITIONAL for p in parameters) or not isinstance(example_inputs, (tuple, list))
    example = as_batch(example_inputs, len(example_inputs) if any_number else len(list(parameters)))
    for index, argument in enumerate(example):
        if not isinstance(argument, Tensor):
            raise ModelError(f"argument {index} of the example is a {type(argument).__name__}; ONNX inputs are tensors")
    return example


def verify(
    model: str | PathLike[str] | bytes, simulated: nn.Module, inputs: Any, *, optimized: bool = True
) -> Verification:
    """Run an exported model in onnxruntime, on the CPU, and compare it with its simulation, element by element.

    model: the file, or its bytes. simulated: what ``fx.simulate`` returned for the same model and recipe.
    inputs: a tensor, or an iterable of batches. optimized: with all graph optimizations of onnxruntime, or none.
    Where the model ends in float (softmax), the last tensors of the integer part are compared with the simulation,
    and the outputs, bit for bit, with what onnxruntime makes of the simulated ones.

    Raises ModelError when one of the two is not what export and simulate return, and PluginError where
    onnx or onnxruntime is not installed.
    """
    if not isinstance(simulated, fx.GraphModule) or not simulated_sites(simulated):
        raise ModelError("verify needs the model that fx.simulate returned as its second argument")
    batches = as_batches(inputs, model_inputs(simulated))
    return compare(model, _simulated(simulated, batches), optimized)


def _simulated(graph: fx.GraphModule, batches: list[tuple[Any, ...]]) -> Iterator[Simulated]:
    outputs = _outputs(graph)
    ends = _integer_ends(graph, outputs)
    grids = dict(simulated_sites(graph)) | _averages(graph)
    grids = {node: grids[node] for node in graph.graph.nodes if node in grids}
    for batch in batches:
        values = _recorded(graph, batch, {*ends, *grids, *outputs})

        def sites(values: dict[fx.Node, NDArray[Any]] = values) -> dict[str, tuple[NDArray[Any], float]]:
            return {str(node.meta["mpq_name"]): (values[node], grid.steps[0]) for node, grid in grids.items()}

        feeds = [np.asarray(argument.detach(), np.float32) for argument in batch if isinstance(argument, Tensor)]
        returned = [values[node] for node in outputs if node in values]  # without sizes
        yield Simulated(feeds, [values[node] for node in ends], sites, returned)


def _outputs(graph: fx.GraphModule) -> list[fx.Node]:
    (node,) = (node for node in graph.graph.nodes if node.op == "output")
    leaves = torch.utils._pytree.tree_leaves(node.args[0], is_leaf=lambda leaf: isinstance(leaf, fx.Node))
    return [leaf for leaf in leaves if isinstance(leaf, fx.Node)]


def _integer_ends(graph: fx.GraphModule, outputs: list[fx.Node]) -> list[fx.Node]:
    """The nodes with which the integer part ends: outputs of the model, then what its float ops read."""
    floats = [node for node in graph.graph.nodes if node.op.startswith("call") and node.meta.get("mpq_float")]
    sources = [*outputs, *(source for node in floats for source in node.all_input_nodes)]
    return [s for s in dict.fromkeys(sources) if s.op == "call_module" and not s.meta.get("mpq_float")]


def _averages(graph: fx.GraphModule) -> dict[fx.Node, Grid]:
    """The averages of a simulation: they compute, too, if on the grid of their input."""
    calls = [(n, graph.get_submodule(str(n.target))) for n in graph.graph.nodes if n.op == "call_module"]
    return {node: module.grid for node, module in calls if isinstance(module, SimulatedAverage)}


def _recorded(graph: fx.GraphModule, batch: tuple[Any, ...], nodes: set[fx.Node]) -> dict[fx.Node, NDArray[Any]]:
    values: dict[fx.Node, NDArray[Any]] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in nodes and isinstance(result, Tensor):
                values[n] = result.detach().numpy()
            return result

    with torch.no_grad():
        Recorder(graph).run(*batch)
    return values

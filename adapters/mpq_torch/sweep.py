"""One sweep through the model that puts every layer on its grids, each knowing the error made before it.

The float model and its simulation run side by side, node by node, on the calibration data; at each
layer the moments of both give the core what it needs to round weight and bias. Cost is one forward
pass of each model, whatever the depth, and memory holds only the activations that are still needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_plugins.bias_correction import quantize_layer
from mpq_plugins.calibration.layer_sums import LayerSums
from mpq_plugins.calibration.order import sweep_order
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.moments import LayerMoments
from mpq_torch.batches import in_chunks, samples_of
from mpq_torch.canonical import WEIGHTED, CanonicalModel
from mpq_torch.canonical_ops import Add
from mpq_torch.constrained import set_bias, set_weight
from mpq_torch.exact_float import ExactLockStep
from mpq_torch.layer_matrix import columns, output_columns, thinned, weight_from_matrix, weight_matrix
from mpq_torch.lock_step import LockStep
from mpq_torch.simulation import SimulatedInput, SimulatedLayer


def compensate(
    model: CanonicalModel,
    simulation: fx.GraphModule,
    batches: Sequence[tuple[Any, ...]],
    grids: Mapping[str, Grid],
) -> dict[str, tuple[Tensor, Tensor]]:
    """Round every layer with compensation and correct its bias, in ``simulation``, in place.

    model: the float model. simulation: of the same graph, its layers to be overwritten.
    grids: site name -> Grid. Returns path -> (weight, bias) of every layer.
    Raises NonFiniteValues, naming the site, where an activation is NaN or infinite.
    """
    chunks = in_chunks(batches)
    counts = [samples_of(chunk) for chunk in chunks]
    order = _order(model)
    exact, quantized = ExactLockStep(model.graph, chunks, order), LockStep(simulation, chunks, order)
    rounded: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.no_grad():
        for name in order:
            node = exact.nodes[name]
            if node.op == "output":
                continue
            path = str(node.target)
            layer = model.graph.get_submodule(path) if node.op == "call_module" else None
            simulated = simulation.get_submodule(str(quantized.nodes[name].target)) if layer else None
            exact.run(name)
            if isinstance(simulated, SimulatedInput) and node.all_input_nodes[0].op == "placeholder":
                quantized.values[node.all_input_nodes[0].name] = exact.values[name]
            if isinstance(simulated, SimulatedLayer):
                if path not in rounded:
                    moments = _moments(layer, node, exact, quantized, simulated.input_grid, counts)
                    rounded[path] = _solve(path, layer, moments, grids[f"{path}.weight"], simulated)
                set_weight(path, simulated.layer, rounded[path][0])
                set_bias(simulated.layer, rounded[path][1])
                simulated.choose_precision()
            quantized.run(name)
    return rounded


def _solve(
    path: str, layer: nn.Module, moments: LayerMoments, grid: Grid, simulated: SimulatedLayer
) -> tuple[Tensor, Tensor]:
    """Weight and bias of one layer on their grids, by the core."""
    matrix = weight_matrix(layer)
    rows = matrix.flatten(0, 1).numpy()
    bias = np.zeros(len(rows), np.float32) if layer.bias is None else layer.bias.detach().numpy()
    by_row = grid if grid.axis is None else replace(grid, axis=0)
    weight, corrected = quantize_layer(rows, bias, moments, by_row, simulated.input_grid.steps[0], name=path)
    return weight_from_matrix(layer, torch.from_numpy(weight).reshape(matrix.shape)), torch.from_numpy(corrected)


def _moments(
    layer: nn.Module, node: fx.Node, exact: LockStep, quantized: LockStep, grid: Grid, counts: Sequence[int]
) -> LayerMoments:
    """Moments of the layer's quantized input and of the output that it should give there.

    grid: of the input. counts: samples of each chunk.
    """
    partner = _residual_partner(node, quantized)
    wished = [value.double() for value in exact.values[node.name]]
    for index, value in enumerate(wished):
        if partner is not None:
            error = exact.values[partner][index].double() - quantized.values[partner][index].double()
            if torch.broadcast_shapes(value.shape, error.shape) == value.shape:  # the layer can make up for it
                value += error
        if not torch.isfinite(value).all():
            raise NonFiniteValues(
                f"site {node.meta['mpq_name']} is NaN or infinite on the calibration data; "
                "look for it in the weights before it"
            )
    outputs = weight_matrix(layer).flatten(0, 1).shape[0]
    sums = LayerSums(grid, [value.numpy() for value in wished], sum(value.numel() for value in wished) // outputs)
    first = 0
    for x, y, samples in zip(quantized.values[node.all_input_nodes[0].name], wished, counts, strict=True):
        for rows, thinning in thinned(layer, y, first, samples, sum(counts)):
            sums.update(columns(layer, x[rows], thinning).numpy(), output_columns(layer, y[rows], thinning).numpy())
        first += samples
    return sums.moments()


def _order(model: CanonicalModel) -> list[str]:
    """The nodes in the order of the sweep."""
    nodes = list(model.graph.graph.nodes)
    layers = {node.name for node, module in model.nodes() if isinstance(module, WEIGHTED)}
    adds = {node.name: _add_of(node) for node in nodes if node.name in layers}
    last = {name for name, add in adds.items() if add is not None and add.all_input_nodes[-1].name == name}
    return sweep_order({node.name: [n.name for n in node.all_input_nodes] for node in nodes}, layers, last)


def _residual_partner(node: fx.Node, quantized: LockStep) -> str | None:
    """The other operand of the add that alone reads this layer, if it is known by now."""
    add = _add_of(node)
    other = next((n for n in add.all_input_nodes if n is not node), None) if add is not None else None
    return other.name if other is not None and other.name in quantized.values else None


def _add_of(node: fx.Node) -> fx.Node | None:
    """The add that alone reads a node."""
    users = list(node.users)
    graph = node.graph.owning_module
    if len(users) != 1 or users[0].op != "call_module":
        return None
    return users[0] if isinstance(graph.get_submodule(str(users[0].target)), Add) else None

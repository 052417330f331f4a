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
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.moments import LayerMoments
from mpq_torch.canonical import CanonicalModel
from mpq_torch.canonical_ops import Add
from mpq_torch.constrained import set_bias, set_weight
from mpq_torch.layer_matrix import Thinning, columns, output_columns, weight_from_matrix, weight_matrix
from mpq_torch.simulation import SimulatedLayer

MAX_COLUMNS = 2**14


class LockStep:
    """Runs a graph node by node on all batches, keeping each value until its last reader has run."""

    def __init__(self, graph: fx.GraphModule, batches: Sequence[tuple[Any, ...]]) -> None:
        self.values: dict[str, list[Any]] = {}
        self.nodes = {node.name: node for node in graph.graph.nodes}
        self._batches = batches
        self._interpreter = fx.Interpreter(graph)
        self._placeholders = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
        order = {name: index for index, name in enumerate(self.nodes)}
        self._last_reader = {
            node.name: max(node.users, key=lambda user: order[user.name]).name
            for node in graph.graph.nodes
            if node.users
        }

    def run(self, name: str) -> None:
        """Compute the node of this name on every batch."""
        node = self.nodes[name]
        if node.op == "placeholder":
            index = self._placeholders.index(name)
            default = node.args[0] if node.args else None
            self.values[name] = [batch[index] if index < len(batch) else default for batch in self._batches]
            return
        results = []
        for index in range(len(self._batches)):
            self._interpreter.env = {n: self.values[n.name][index] for n in node.all_input_nodes}
            args, kwargs = self._interpreter.fetch_args_kwargs_from_env(node)
            results.append(getattr(self._interpreter, node.op)(node.target, args, kwargs))
        self.values[name] = results
        for source in node.all_input_nodes:
            if self._last_reader[source.name] == name:
                del self.values[source.name]


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
    exact, quantized = LockStep(model.graph, batches), LockStep(simulation, batches)
    rounded: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.no_grad():
        for name, node in exact.nodes.items():
            if node.op == "output":
                break
            path = str(node.target)
            layer = model.graph.get_submodule(path) if node.op == "call_module" else None
            simulated = simulation.get_submodule(str(quantized.nodes[name].target)) if layer else None
            if isinstance(simulated, SimulatedLayer):
                if path not in rounded:
                    moments = _moments(layer, node, exact, quantized)
                    rounded[path] = _solve(path, layer, moments, grids[f"{path}.weight"], simulated)
                set_weight(path, simulated.layer, rounded[path][0])
                set_bias(simulated.layer, rounded[path][1])
                simulated.choose_precision()
            exact.run(name)
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


def _moments(layer: nn.Module, node: fx.Node, exact: LockStep, quantized: LockStep) -> LayerMoments:
    """Moments of the layer's quantized input and of the output that it should give there."""
    source = node.all_input_nodes[0].name
    partner = _residual_partner(node, quantized)
    totals: list[Tensor] = []
    count, batches = 0, len(exact.values[source])
    for index in range(batches):
        wished = layer(exact.values[source][index])
        if partner is not None:
            error = exact.values[partner][index] - quantized.values[partner][index]
            if torch.broadcast_shapes(wished.shape, error.shape) == wished.shape:  # the layer can make up for it
                wished = wished + error
        if not torch.isfinite(wished).all():
            raise NonFiniteValues(
                f"site {node.meta['mpq_name']} is NaN or infinite on the calibration data; "
                "look for it in the weights before it"
            )
        thinning = Thinning.to_at_most(MAX_COLUMNS, layer, batches * len(wished), wished, index)
        x = columns(layer, quantized.values[source][index], thinning)
        y = output_columns(layer, wished, thinning)
        grouped = y.reshape(len(x), -1, y.shape[1])
        parts = (
            torch.bmm(x, x.transpose(1, 2)),
            x.sum(2),
            torch.bmm(grouped, x.transpose(1, 2)).flatten(0, 1),
            y.sum(1),
        )
        totals = [t + p.double() for t, p in zip(totals, parts, strict=True)] if totals else [p.double() for p in parts]
        count += x.shape[2]
    return LayerMoments(*((total / count).numpy() for total in totals))


def _residual_partner(node: fx.Node, quantized: LockStep) -> str | None:
    """The other operand of the add that alone reads this layer, if it is known by now."""
    users = list(node.users)
    graph = node.graph.owning_module
    if len(users) != 1 or users[0].op != "call_module":
        return None
    if not isinstance(graph.get_submodule(str(users[0].target)), Add):
        return None
    other = next((n for n in users[0].all_input_nodes if n is not node), None)
    return other.name if other is not None and other.name in quantized.values else None

"""A canonical model on its grids: weights on theirs, biases on the accumulators'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_plugins.bias_correction import snap_bias
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_torch.canonical import WEIGHTED, CanonicalModel
from mpq_torch.simulation import channel_steps


def layers(model: CanonicalModel, grid_of: Mapping[fx.Node, str]) -> Iterator[tuple[str, nn.Module, list[str]]]:
    """Each weighted layer once: its module path, the module, and the sites of its inputs."""
    seen: dict[str, list[str]] = {}
    for node, module in model.nodes():
        if isinstance(module, WEIGHTED):
            source = next(n for n in node.all_input_nodes if n in grid_of)
            seen.setdefault(str(node.target), []).append(grid_of[source])
    for path, inputs in seen.items():
        yield path, model.graph.get_submodule(path), inputs


def accumulator_steps(layer: nn.Module, weight_grid: Grid, inputs: list[Grid]) -> Tensor:
    """step_x * step_w of each output channel, float64; the coarsest of a shared layer's inputs."""
    return channel_steps(layer, weight_grid) * max(grid.steps[0] for grid in inputs)


def put_on_grids(model: CanonicalModel, grid_of: Mapping[fx.Node, str], grids: Mapping[str, Grid]) -> None:
    """Round every weight and bias of ``model`` to the nearest value that it may take, in place.

    Raises NonFiniteValues, naming the site, where a weight is NaN or infinite, and GridError, naming the layer,
    where a bias does not fit its int32 accumulator.
    """
    for path, layer, inputs in layers(model, grid_of):
        weight_grid = grids[f"{path}.weight"]
        set_weight(path, layer, weight_grid.project(layer.weight.detach().double().numpy()))
        if layer.bias is not None:
            step = max(grids[name].steps[0] for name in inputs)
            set_bias(layer, torch.from_numpy(snap_bias(layer.bias.detach().double().numpy(), step, weight_grid, path)))


def set_weight(path: str, layer: nn.Module, weight: np.ndarray | Tensor) -> None:
    """Overwrite a layer's weight, keeping its dtype."""
    values = torch.as_tensor(weight)
    if not torch.isfinite(values).all():
        raise NonFiniteValues(f"{path}.weight holds NaN or infinite values")
    with torch.no_grad():
        layer.weight.copy_(values)


def set_bias(layer: nn.Module, bias: Tensor) -> None:
    """Overwrite a layer's bias, giving it one if it has none."""
    with torch.no_grad():
        if layer.bias is None:
            layer.bias = nn.Parameter(bias.to(layer.weight.dtype))
        else:
            layer.bias.copy_(bias)

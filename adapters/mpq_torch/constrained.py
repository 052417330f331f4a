"""The float model on its grids: weights on theirs, biases on the accumulators', ranges clamped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_plugins.bias_correction import snap_bias
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_torch.canonical import OWN_GRID, WEIGHTED, CanonicalModel, site_name
from mpq_torch.canonical_ops import CLAMP_SUFFIX, Clamp, GridClamp, SameGrid, clamp_on_grid
from mpq_torch.depthwise import SlicedDepthwise, saturates
from mpq_torch.layer_matrix import TRANSPOSED
from mpq_torch.simulation import channel_steps
from mpq_torch.subpixel import SubpixelConvTranspose

CONTAINER_BITS = 8
DECONVOLUTION_REFUSED = ("x86", "onednn")
"""Engines whose transposed convolutions are wrong for some shapes: see subpixel.py."""


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


def replace_layers(model: CanonicalModel, sites: Mapping[fx.Node, str], grids: Mapping[str, Grid], engine: str) -> None:
    """Put layers whose kernels on ``engine`` are wrong into a form that they run exactly, in place."""
    for path, layer, inputs in list(layers(model, sites)):
        if isinstance(layer, TRANSPOSED) and engine in DECONVOLUTION_REFUSED:
            model.graph.add_submodule(path, SubpixelConvTranspose(layer))
        elif engine == "x86" and any(saturates(layer, grids[f"{path}.weight"], grids[name]) for name in inputs):
            model.graph.add_submodule(path, SlicedDepthwise(layer))
    model.graph.recompile()


def clamp_ranges(
    model: CanonicalModel,
    grid_of: Mapping[fx.Node, str],
    grids: Mapping[str, Grid],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Insert a clamp to the grid's range behind every site of fewer bits than its container, in place.

    Bounds of the model's own clamps (ReLU6) move inwards onto the grid.
    """
    graph = model.graph
    for node, module in list(model.nodes()):
        if node not in grid_of:
            continue
        site = grid_of[node]
        grid, images = grids[site], len(shapes[site]) == 3
        step = grid.steps[0]
        if isinstance(module, Clamp):
            in_shape = images and not _reordered(graph, node, grid_of)
            graph.add_submodule(str(node.target), clamp_on_grid(module, grid, in_shape))
        own = isinstance(module, (*OWN_GRID, SlicedDepthwise, SubpixelConvTranspose))
        if not own or grid.bits >= CONTAINER_BITS:
            continue
        owner = _behind_fused_relu(graph, node)
        path = f"{site_name(node)}{CLAMP_SUFFIX}"
        graph.add_submodule(path, GridClamp(grid.low * step, grid.high * step, images))
        with graph.graph.inserting_after(owner):
            clamp = graph.graph.call_module(path, (owner,))
        clamp.meta = {"mpq_name": site_name(node), "mpq_float": False}
        owner.replace_all_uses_with(clamp, delete_user_cb=lambda user, clamp=clamp: user is not clamp)
    graph.graph.lint()
    graph.recompile()


def _reordered(graph: fx.GraphModule, node: fx.Node, grid_of: Mapping[fx.Node, str]) -> bool:
    """Whether a flatten, reshape or the like stands between a clamp and the op that owns its grid."""
    source = node.all_input_nodes[0]
    while site_name(source) != grid_of[node]:
        if isinstance(graph.get_submodule(str(source.target)), SameGrid):
            return True
        source = source.all_input_nodes[0]
    return False


def _behind_fused_relu(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The ReLU that torch.ao fuses into ``node``, or the node itself."""
    users = list(node.users)
    alone = len(users) == 1 and users[0].op == "call_module"
    return users[0] if alone and isinstance(graph.get_submodule(str(users[0].target)), nn.ReLU) else node

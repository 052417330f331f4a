"""The simulation of a recipe: a float model that computes the numbers of the integer kernels.

Every tensor holds grid values as float32. Layers accumulate exactly (in float64 where float32 could
round), biases lie on the accumulator's grid, and each op rounds as the recipe's target says.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import RecipeMismatch
from mpq_plugins.grid import Grid
from mpq_plugins.targets import Target
from mpq_torch import arithmetic
from mpq_torch.canonical import WEIGHTED, CanonicalModel, site_name
from mpq_torch.canonical_ops import Add, Clamp, Input, clamp_on_grid
from mpq_torch.inventory import op_of
from mpq_torch.layer_matrix import TRANSPOSED, weight_matrix
from mpq_torch.observers import zero_point_of

SIMULATED_SUFFIX = "__simulated"


def channel_steps(layer: nn.Module, grid: Grid) -> Tensor:
    """The step of each output channel of a layer's weight, float64 [channels]."""
    channels = layer.weight.shape[1] * layer.groups if isinstance(layer, TRANSPOSED) else layer.weight.shape[0]
    steps = torch.tensor(grid.steps, dtype=torch.float64)
    return steps.expand(channels) if len(steps) == 1 else steps


def needs_float64(layer: nn.Module, weight_grid: Grid, input_grid: Grid) -> bool:
    """Whether a float32 sum of the layer's products could round (arithmetic.accumulates_exactly)."""
    steps = channel_steps(layer, weight_grid)
    codes = weight_matrix(layer).flatten(0, 1).double() / steps[:, None]
    bias = None if layer.bias is None else layer.bias.detach().double() / (steps * input_grid.steps[0])
    return not arithmetic.accumulates_exactly(codes, max(input_grid.high, -input_grid.low), bias)


class ToGrid(nn.Module):
    """Round to the nearest grid value by the target's rule, and clip."""

    def __init__(self, grid: Grid, rounding: str) -> None:
        super().__init__()
        self.grid = grid
        self.rounding = rounding

    def forward(self, x: Tensor) -> Tensor:
        return arithmetic.requantize(x, self.grid.steps[0], self.grid.low, self.grid.high, self.rounding)

    def extra_repr(self) -> str:
        return f"{self.grid}, {self.rounding}"


class SimulatedLayer(nn.Module):
    """A convolution or linear with grid weights, and the requantization of its accumulator."""

    def __init__(self, layer: nn.Module, input_grid: Grid, weight_grid: Grid, to_grid: ToGrid) -> None:
        super().__init__()
        self.layer = layer
        self.input_grid = input_grid
        self.weight_grid = weight_grid
        self.to_grid = to_grid
        self.grid = to_grid.grid
        self.choose_precision()

    def choose_precision(self) -> None:
        """Accumulate in float64 where float32 could round; to be called when the weight has changed."""
        self.wide = needs_float64(self.layer, self.weight_grid, self.input_grid)
        self.layer.to(torch.float64 if self.wide else torch.float32)

    def forward(self, x: Tensor) -> Tensor:
        return self.to_grid(self.layer(x.double() if self.wide else x))


class SimulatedInput(nn.Module):
    """A float tensor quantized as torch's quantize_per_tensor does it, zero point included.

    zero_point: what the kernel adds before it rounds; None for that of torch's container. Runtimes that
    round first have 0 here.
    """

    def __init__(self, grid: Grid, zero_point: int | None = None) -> None:
        super().__init__()
        self.grid = grid
        self.zero_point = zero_point_of(grid) if zero_point is None else zero_point

    def forward(self, x: Tensor) -> Tensor:
        grid = self.grid
        return arithmetic.quantize_input(x, grid.steps[0], grid.low, grid.high, self.zero_point)

    def extra_repr(self) -> str:
        return str(self.grid)


class SimulatedAdd(nn.Module):
    """An add, and the requantization of its result; broadcast: the same where the shapes differ."""

    def __init__(self, op: nn.Module, to_grid: ToGrid, broadcast: ToGrid) -> None:
        super().__init__()
        self.op = op
        self.to_grid = to_grid
        self.broadcast = broadcast
        self.grid = to_grid.grid

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (self.to_grid if a.shape == b.shape else self.broadcast)(self.op(a, b))


class SimulatedHardswish(nn.Module):
    """Hard-swish on a grid of its own."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        return arithmetic.hardswish(x, self.grid.steps[0], self.grid.low, self.grid.high)

    def extra_repr(self) -> str:
        return str(self.grid)


class SimulatedAverage(nn.Module):
    """Average pooling, or a mean over height and width, on the grid of its input."""

    def __init__(self, function: str, grid: Grid) -> None:
        super().__init__()
        self.function = function
        self.grid = grid

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        step = self.grid.steps[0]
        if self.function == "torch.mean":
            return arithmetic.mean(x, step, *args)
        if self.function == "functional.avg_pool2d":
            return arithmetic.average_pool2d(x, step, *args)
        kernel, stride, padding = ((1, _only(v)) if i < 2 else (0, _only(v)) for i, v in enumerate(args[:3]))
        return arithmetic.average_pool2d(x.unsqueeze(-2), step, kernel, stride, padding, *args[3:]).squeeze(-2)

    def extra_repr(self) -> str:
        return f"{self.function}, {self.grid}"


def _only(size: Any) -> int:
    return size[0] if isinstance(size, (list, tuple)) else size


def rounds_inputs_first(target: Target) -> bool:
    """Whether the runtime rounds a float input before it adds the zero point, as onnxruntime and torchao do."""
    runtime = target.runtime
    return runtime is not None and (runtime.framework == "onnxruntime" or runtime.engine == "pt2e")


def simulated_sites(graph: fx.GraphModule) -> list[tuple[fx.Node, Grid]]:
    """The nodes of a simulation that put a tensor on a grid of its own, in execution order."""
    found = []
    for node in graph.graph.nodes:
        if node.op == "call_module":
            module = graph.get_submodule(str(node.target))
            if isinstance(module, (SimulatedInput, SimulatedLayer, SimulatedAdd, SimulatedHardswish)):
                found.append((node, module.grid))
    return found


def build_simulation(
    model: CanonicalModel, grids: Mapping[str, Grid], grid_of: Mapping[fx.Node, str], target: Target
) -> fx.GraphModule:
    """The canonical graph with every op replaced by its simulation; weights must lie on their grids.

    grids: site name -> Grid. grid_of: node -> the activation site whose grid its output has.
    Raises RecipeMismatch where a site has no grid.
    """
    graph = copy.deepcopy(model.graph)
    nodes = {node.name: node for node in graph.graph.nodes}
    sites = {nodes[node.name]: site for node, site in grid_of.items()}
    for original, _ in model.nodes():
        node = nodes[original.name]
        module = graph.get_submodule(str(node.target))
        if node not in sites:
            continue
        grid = _grid(grids, sites[node])
        if isinstance(module, WEIGHTED):
            input_grid = _grid(grids, next(sites[n] for n in node.all_input_nodes if n in sites))
            weight_grid = _grid(grids, f"{node.target}.weight")
            to_grid = ToGrid(grid, target.rounding(op_of(module)))
            simulated: nn.Module | None = SimulatedLayer(copy.deepcopy(module), input_grid, weight_grid, to_grid)
        else:
            simulated = _without_weight(module, grid, target)
        if simulated is None:
            continue
        path = str(node.target)
        if isinstance(module, WEIGHTED):  # a shared layer has a simulation for each of its calls
            path = f"{site_name(node)}{SIMULATED_SUFFIX}"
        graph.add_submodule(path, simulated.eval())
        node.target = path
    graph.graph.lint()
    graph.recompile()
    return graph


def _without_weight(module: nn.Module, grid: Grid, target: Target) -> nn.Module | None:
    """The simulation of an op without a weight; None where the float op does the same on grid values."""
    op = op_of(module)
    if isinstance(module, Input):
        return SimulatedInput(grid, 0 if rounds_inputs_first(target) else None)
    if isinstance(module, nn.Hardswish):
        return SimulatedHardswish(grid)
    if isinstance(module, Clamp):
        return clamp_on_grid(module, grid)
    if isinstance(module, Add):
        # QNNPACK's own add takes equal shapes only; torch's general kernel does the rest
        qnnpack = target.runtime is not None and target.runtime.engine == "qnnpack"
        rounding = target.rounding(op)
        return SimulatedAdd(module, ToGrid(grid, rounding), ToGrid(grid, "half_even" if qnnpack else rounding))
    if op in ("avg_pool", "global_avg_pool"):
        return SimulatedAverage(module.function, grid)
    return None


def _grid(grids: Mapping[str, Grid], site: str) -> Grid:
    try:
        return grids[site]
    except KeyError:
        raise RecipeMismatch(f"the recipe has no grid for site {site}") from None

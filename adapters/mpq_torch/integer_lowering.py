"""A torch model on its grids as an integer program, which runs without torch and without floats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.grid import Grid
from mpq_plugins.integers.lowering import ProgramBuilder, check_steps, exact_mean
from mpq_plugins.integers.program import Entrance, Program
from mpq_plugins.integers.steps import Bound, Clamp, Concat, Constant, Conv, Linear, Lookup, Mean, Move
from mpq_plugins.integers.verification import compare
from mpq_plugins.recipe import Recipe
from mpq_plugins.verification import Verification
from mpq_torch.batches import as_batch, as_batches, model_inputs
from mpq_torch.canonical import site_name
from mpq_torch.canonical_ops import Clamp as ClampModule
from mpq_torch.canonical_ops import Concat as ConcatModule
from mpq_torch.canonical_ops import Pad, SameGrid, Subsample
from mpq_torch.canonical_simulation import simulate
from mpq_torch.integer_moves import lower_move, lower_pool, pair, sample_axis, symmetric
from mpq_torch.layer_matrix import TRANSPOSED
from mpq_torch.pooling_rewrites import MAX_POOLS
from mpq_torch.rewriting import is_shape_value
from mpq_torch.simulation import (
    SimulatedAdd,
    SimulatedAverage,
    SimulatedHardswish,
    SimulatedInput,
    SimulatedLayer,
)

CALL_SUFFIX = re.compile(r"__call\d+$")


def integers(model: nn.Module, recipe: Recipe, example_inputs: Any, name: str = "model") -> Program:
    """The model as integer codes, step exponents, int32 biases and shifts, channels first.

    model: what ``constrain`` returned, or any model that the recipe fits, whose weights and biases are then
        rounded to nearest. example_inputs: a tensor, or a tuple of the model's arguments, for the shapes.
    name: of the program, which its C header is named after.

    The program computes exactly what ``simulate(model, recipe)`` computes, up to ops that stay float at the
    model's end. Raises RecipeMismatch, GridError where a step is no power of two, and UnsupportedOp, naming
    the op, where one has no integer step.
    """
    check_steps(recipe)
    simulated = simulate(model, recipe)
    lowering = _Lowering(simulated, recipe, name)
    with torch.no_grad():
        lowering.run(*as_batch(example_inputs, model_inputs(simulated)))
    return lowering.finish()


def verify_integers(program: Program, model: nn.Module, recipe: Recipe, inputs: Any) -> Verification:
    """Compare a program, run by NumPy in integers, with the simulation of its model, element by element.

    model, recipe: what the program was made from. inputs: a tensor, or an iterable of batches.
    """
    simulated = simulate(model, recipe)
    nodes = output_nodes(simulated)
    names = [str(n.target) for n in simulated.graph.nodes if n.op == "placeholder"]

    def runs() -> Iterator[tuple[dict[str, Any], list[Any]]]:
        for batch in as_batches(inputs, model_inputs(simulated)):
            values = _values(simulated, batch, nodes)
            yield dict(zip(names, (np.asarray(x) for x in batch), strict=True)), [values[n].numpy() for n in nodes]

    return compare(program, runs())


def output_nodes(simulated: fx.GraphModule) -> list[fx.Node]:
    """The nodes of a simulation whose values leave its integer part: those it returns, or its float end reads."""
    ends = [n for n in simulated.graph.nodes if not _is_integer(n) and not is_shape_value(n)]
    return list(dict.fromkeys(source for n in ends for source in n.all_input_nodes if _is_integer(source)))


def _is_integer(node: fx.Node) -> bool:
    return node.op == "call_module" and not node.meta.get("mpq_float")


def _values(simulated: fx.GraphModule, batch: tuple[Any, ...], nodes: list[fx.Node]) -> dict[fx.Node, Tensor]:
    found: dict[fx.Node, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n in nodes:
                found[n] = result
            return result

    with torch.no_grad():
        Recorder(simulated).run(*batch)
    return found


class _Lowering(fx.Interpreter):
    """Runs a simulation on an example and adds the step of each op, with the sizes that the example has."""

    def __init__(self, simulated: fx.GraphModule, recipe: Recipe, name: str) -> None:
        super().__init__(simulated)
        self.recipe = recipe
        self.builder = ProgramBuilder(name, recipe.target, f"torch {torch.__version__}", "channels_first")
        self.names: dict[fx.Node, str] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if _is_integer(n):
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            module = self.module.get_submodule(str(n.target))
            self.names[n] = self._lower(n, module, args, kwargs, result)
        return result

    def finish(self) -> Program:
        """The program; its outputs are what the model returns, or what its float end reads."""
        self._check_inputs()
        outputs = [self.names[node] for node in output_nodes(self.module)]
        nodes = [n for n in self.module.graph.nodes if n.op.startswith("call") and not is_shape_value(n)]
        return self.builder.finish(outputs, [site_name(n) for n in nodes if n.meta.get("mpq_float")])

    def _check_inputs(self) -> None:
        for node, name in self.names.items():
            source = node.all_input_nodes[0] if node.all_input_nodes else node
            if source not in self.names and source.op not in ("placeholder", "get_attr"):
                raise UnsupportedOp(
                    f"{name}: this op stays float in front of integer ones, so the model cannot run on integers alone; "
                    "cut the model there, or search without keep_float"
                )

    def _lower(self, node: fx.Node, module: nn.Module, args: Any, kwargs: Any, result: Tensor) -> str:
        """Add the step of a node; returns the name of the tensor that it writes."""
        site, shape = site_name(node), tuple(result.shape[1:])
        if isinstance(module, SimulatedInput):
            return self._input(node, self.builder.tensor(site, shape, module.grid), module, result)
        sources = [self.names[n] for n in node.all_input_nodes if n in self.names]
        if isinstance(module, SimulatedLayer):
            name = self.builder.tensor(site, shape, module.grid)
            self._layer(module, name, sources[0], args[0], result)
        elif isinstance(module, SimulatedAdd):
            name = self.builder.tensor(site, shape, module.grid)
            inputs = (self.names[node.args[0]], self.names[node.args[1]])
            to_grid = module.to_grid if args[0].shape == args[1].shape else module.broadcast
            self.builder.add(name, inputs, module.grid, to_grid.rounding, True)
        elif isinstance(module, SimulatedHardswish):
            name = self.builder.tensor(site, shape, module.grid)
            self._hardswish(module, name, sources[0])
        else:
            name = self.builder.like(sources[0], site, shape)
            step = self._same_grid(node, module, name, args, kwargs, result)
            self.builder.steps.append(step)
        return name

    def _input(self, node: fx.Node, name: str, module: SimulatedInput, result: Tensor) -> str:
        grid = module.grid
        if node.all_input_nodes[0].op == "get_attr":
            if len(result) != 1:
                raise UnsupportedOp(f"{name}: a constant of {len(result)} samples; an integer program has one sample")
            codes = f"{name}.codes"
            self.builder.arrays[codes] = _codes(result, grid)[0]
            self.builder.steps.append(Constant(name, codes))
        else:
            self.builder.inputs.append(Entrance(name, "half_even", grid.low, grid.high, module.zero_point))
        return name

    def _layer(self, simulated: SimulatedLayer, name: str, source: str, x: Tensor, result: Tensor) -> None:
        builder, layer, weight_grid = self.builder, simulated.layer, simulated.weight_grid
        codes = weight_grid.quantize(layer.weight.detach().double().numpy())
        biases = np.zeros(result.shape[-1 if isinstance(layer, nn.Linear) else 1])
        if layer.bias is not None:
            biases = layer.bias.detach().double().numpy()
        if not isinstance(layer, nn.Linear):
            codes = codes[:, :, None] if codes.ndim == 3 else codes
            if isinstance(layer, TRANSPOSED):
                codes = _as_convolution(codes, layer.groups)
                steps = weight_grid.steps if weight_grid.axis is None else weight_grid.steps * layer.groups
                weight_grid = replace(weight_grid, steps=steps)  # its groups share the steps of their channels
            codes = codes.transpose(0, 2, 3, 1)
        weight = builder.weight(self._weight_site(name), codes, weight_grid)
        bias = builder.bias(name, biases, weight_grid, simulated.input_grid)
        stages, bits = builder.layer_stages(weight, bias, source, simulated.grid, simulated.to_grid.rounding)
        if isinstance(layer, nn.Linear):
            builder.steps.append(Linear(name, (source,), weight, bias, bits, stages))
            return
        flat = x.dim() == 3
        dilation = pair(layer.dilation, 1, flat)
        if isinstance(layer, TRANSPOSED):
            source, stride, sides = self._stuffed(layer, source, x, result), (1, 1), (0, 0, 0, 0)
        else:
            stride, sides = pair(layer.stride, 1, flat), symmetric(pair(layer.padding, 0, flat))
        builder.steps.append(Conv(name, (source,), weight, bias, stride, sides, dilation, layer.groups, bits, stages))

    def _weight_site(self, site: str) -> str:
        """The site of a layer's weight; further calls of the layer have its name and a number."""
        own = f"{site}.weight"
        return own if own in self.recipe else f"{CALL_SUFFIX.sub('', site)}.weight"

    def _stuffed(self, layer: nn.Module, source: str, x: Tensor, result: Tensor) -> str:
        """The input of a transposed convolution with zeros between its elements and around them."""
        reach = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        before = (0, *(r - p for r, p in zip(reach, layer.padding, strict=True)))
        sizes = [size + r for size, r in zip(result.shape[2:], reach, strict=True)]
        name = self.builder.like(source, f"{source}__stuffed", (x.shape[1], *sizes))
        ones, order = (1,) * len(before), tuple(range(len(before)))
        insert = (1, *(int(s) for s in layer.stride))
        self.builder.steps.append(Move(name, (source,), "zero_stuff", order, before, ones, ones, insert))
        return name

    def _hardswish(self, module: SimulatedHardswish, name: str, source: str) -> None:
        tensor, table = self.builder.tensors[source], f"{name}.table"
        codes = torch.arange(tensor.low, tensor.high + 1, dtype=torch.float32)
        self.builder.arrays[table] = _codes(module(codes * 2.0**tensor.exponent), module.grid)
        self.builder.steps.append(Lookup(name, (source,), table, tensor.low))

    def _same_grid(self, node: fx.Node, module: nn.Module, name: str, args: Any, kwargs: Any, result: Tensor) -> Any:
        """The step of an op that stays on the grid of its input."""
        sources = tuple(self.names[n] for n in node.all_input_nodes if n in self.names)
        source, x = sources[0], args[0]
        tensor = self.builder.tensors[source]
        if isinstance(module, nn.ReLU):
            return Bound(name, (source,), 0, tensor.high)
        if isinstance(module, ClampModule):
            step = 2.0**tensor.exponent
            return Bound(name, (source,), round(module.low / step), round(module.high / step))
        if isinstance(module, ConcatModule):
            return Concat(name, tuple(self.names[n] for n in node.args), sample_axis(module.dim, x, name))
        if isinstance(module, SimulatedAverage) and module.function == "torch.mean":
            axes = tuple(sorted(sample_axis(dim, x, name) for dim in args[1]))
            count = int(np.prod([x.shape[axis + 1] for axis in axes]))
            stages = (*exact_mean(count, "half_even"), Clamp(module.grid.low, module.grid.high))
            return Mean(name, (source,), axes, self.builder.sum_bits(source, count), stages)
        if isinstance(module, (*MAX_POOLS, SimulatedAverage)) or getattr(module, "op", "") == "max_pool":
            return lower_pool(module, name, source, x, args, kwargs)
        if isinstance(module, (Pad, Subsample, SameGrid)):
            return lower_move(module, name, source, x, args, kwargs)
        raise UnsupportedOp(f"{name}: the integer program has no step for {type(module).__name__}")


def _codes(values: Tensor, grid: Grid) -> NDArray[np.int32]:
    return np.rint(values.double().numpy() / grid.steps[0]).astype(np.int32)


def _as_convolution(codes: NDArray[Any], groups: int) -> NDArray[Any]:
    """[in, out / groups, rows, columns] of a transposed convolution as [out, in / groups, rows, columns], flipped."""
    split = codes[:, :, ::-1, ::-1].reshape(groups, -1, *codes.shape[1:])
    return split.swapaxes(1, 2).reshape(-1, codes.shape[0] // groups, *codes.shape[2:])

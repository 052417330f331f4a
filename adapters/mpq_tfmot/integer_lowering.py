"""A Keras model on its grids as an integer program, which runs without TensorFlow and without floats."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.capabilities import Rounding
from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.grid import Grid
from mpq_plugins.integers.lowering import (
    ProgramBuilder,
    check_steps,
    exact_mean,
    fixed_point_mean,
    float32_reciprocal_mean,
)
from mpq_plugins.integers.program import Entrance, Program
from mpq_plugins.integers.steps import (
    AveragePool,
    Bound,
    Clamp,
    Concat,
    Conv,
    Linear,
    Lookup,
    MaxPool,
    Mean,
    Move,
    Pair,
    Reshape,
    Sides,
    Step,
)
from mpq_plugins.integers.verification import compare
from mpq_plugins.recipe import Recipe
from mpq_plugins.verification import Verification
from mpq_tfmot.api import simulate
from mpq_tfmot.arithmetic import BUILTIN, ONNXRUNTIME, XNNPACK, container_low, zero_point_of
from mpq_tfmot.batches import as_batches, in_chunks
from mpq_tfmot.canonical import last_integer_ops
from mpq_tfmot.canonical_ops import FLOAT, Op
from mpq_tfmot.keras import tf
from mpq_tfmot.layer_matrix import kernel_size, same_padding
from mpq_tfmot.simulation import BATCH, Simulation, clamp_codes


def integers(model: Any, recipe: Recipe, name: str = "model") -> Program:
    """The model as integer codes, step exponents, int32 biases and shifts, channels last.

    model: what ``constrain`` returned, or any model that the recipe fits, whose weights and biases are then
        rounded to nearest. name: of the program, which its C header is named after.

    The program computes exactly what ``simulate(model, recipe)`` computes (before any op that stays float
    at its end). Raises RecipeMismatch, GridError where a step is no power of two, and UnsupportedOp, naming
    the op, where one has no integer kernel.
    """
    check_steps(recipe)
    simulation = simulate(model, recipe)
    return _Lowering(simulation, recipe, name).run()


def verify_integers(program: Program, model: Any, recipe: Recipe, inputs: Any) -> Verification:
    """Compare a program, run by NumPy in integers, with the simulation of its model, element by element.

    model, recipe: what the program was made from. inputs: an array, or an iterable of batches, as for ``search``.
    """
    simulation = simulate(model, recipe)
    outputs = last_integer_ops(simulation.model)
    shapes = [op.shape for op in simulation.model.inputs]

    def runs() -> Iterator[tuple[dict[str, Any], list[Any]]]:
        for batch in in_chunks(as_batches(inputs, shapes), BATCH):
            values = simulation.run(list(batch))
            given = dict(zip((op.name for op in simulation.model.inputs), batch, strict=True))
            yield given, [np.asarray(values[name]) for name in outputs]

    return compare(program, runs())


_ADDS: dict[str, Rounding] = {XNNPACK: "half_up", BUILTIN: "half_away"}
"""How LiteRT's kernels round the sum of two tensors."""


class _Lowering:
    def __init__(self, simulation: Simulation, recipe: Recipe, name: str) -> None:
        self.simulation = simulation
        self.builder = ProgramBuilder(name, recipe.target, f"tensorflow {tf.__version__}", "channels_last")
        self.names: dict[str, str] = {}

    def run(self) -> Program:
        model = self.simulation.model
        for op in model.ops:
            if op.kind != FLOAT:
                self._lower(op)
        outputs = [self.names[name] for name in last_integer_ops(model)]
        return self.builder.finish(outputs, model.float_ops)

    def _lower(self, op: Op) -> None:
        grid = self.simulation.grid(op)
        name = self.builder.tensor(op.name, op.shape, grid)
        self.names[op.name] = name
        if op.kind == "input":
            rounding: Rounding = "half_away" if self.simulation.kernels == BUILTIN else "half_even"
            self.builder.inputs.append(Entrance(name, rounding, grid.low, grid.high))
            return
        sources = tuple(self.names[source] for source in op.inputs)
        if op.weighted:
            self._layer(op, name, sources[0], grid)
        elif op.kind == "add":
            target = self.simulation.target
            kernel = _ADDS.get(target.runtime.engine) if target.runtime else None
            rounding = kernel or target.rounding("add")
            self.builder.add(name, (sources[0], sources[1]), grid, rounding, False)
        elif op.kind != "relu":
            self.builder.steps.append(self._plain(op, name, sources, grid))
        if op.low is not None or op.high is not None:
            low, high = clamp_codes(op, grid)
            bounded = name if op.kind == "relu" else self.builder.like(name, f"{name}.clamp", op.shape)
            # where the bounds cross, TensorFlow's clip gives the lower one
            source = sources[0] if op.kind == "relu" else name
            self.builder.steps.append(Bound(bounded, (source,), low, max(low, high)))
            self.names[op.name] = bounded
        elif op.kind == "relu":
            self.names[op.name] = sources[0]

    def _layer(self, op: Op, name: str, source: str, grid: Grid) -> None:
        simulation, builder = self.simulation, self.builder
        weight_grid = simulation.grids[op.weight_site]
        input_grid = simulation.grids[simulation.grid_of[op.inputs[0]]]
        weight = builder.weight(op.weight_site, _arranged(op, weight_grid.quantize(op.weight)), weight_grid)
        bias = builder.bias(name, np.asarray(op.bias, np.float64), weight_grid, input_grid)
        # as the simulation: XNNPACK leaves transposed convolutions to the built-in kernel
        twice = op.kind != "linear" and (
            simulation.kernels == BUILTIN or (simulation.kernels == XNNPACK and op.kind == "conv_transpose2d")
        )
        rounding = simulation.target.rounding(op.kind)
        stages, bits = builder.layer_stages(weight, bias, source, grid, rounding, twice=twice)
        if op.kind == "linear":
            builder.steps.append(Linear(name, (source,), weight, bias, bits, stages))
            return
        stride, dilation, groups = _pair(op, "strides"), _pair(op, "dilation"), 1
        if op.kind.startswith("depthwise"):
            stride, groups = (max(stride), max(stride)), op.weight.shape[-2]
        if op.kind == "conv_transpose2d":
            source, stride = self._stuffed(op, source, stride), (1, 1)
            sides: Sides = (0, 0, 0, 0)
        else:
            sides = _padding(op, self._rows_columns(op.inputs[0]), kernel_size(op), stride, dilation)
        builder.steps.append(Conv(name, (source,), weight, bias, stride, sides, dilation, groups, bits, stages))

    def _stuffed(self, op: Op, source: str, stride: Pair) -> str:
        """The input of a transposed convolution with zeros between its elements and around them."""
        inside, kernel = self._rows_columns(op.inputs[0]), kernel_size(op)
        before = []
        for size, k, s, out in zip(inside, kernel, stride, op.shape[:2], strict=True):
            cut = max((size - 1) * s + k - out, 0) // 2 if op.options.get("padding") == "same" else 0
            before.append(k - 1 - cut)
        channels = self.builder.tensors[source].shape[-1]
        sizes = [out + k - 1 for out, k in zip(op.shape[:2], kernel, strict=True)]
        name = self.builder.like(source, f"{source}.stuffed", (*sizes, channels))
        ones = (1, 1, 1)
        insert = (int(stride[0]), int(stride[1]), 1)
        self.builder.steps.append(Move(name, (source,), "zero_stuff", (0, 1, 2), (*before, 0), ones, ones, insert))
        return name

    def _plain(self, op: Op, name: str, sources: tuple[str, ...], grid: Grid) -> Step:
        """The step of an op without a weight."""
        rank, source = len(op.shape), (sources[0],)
        ones, zeros, order = (1,) * rank, (0,) * rank, tuple(range(rank))
        if op.kind == "concat":
            axis = int(op.options["axis"])
            return Concat(name, sources, axis % (rank + 1) - 1)
        if op.kind == "lookup":
            return self._lookup(op, name, source[0])
        if op.kind in ("max_pool", "avg_pool"):
            return self._pool(op, name, source[0], grid)
        if op.kind == "global_avg_pool":
            return self._mean(op, name, source[0], grid)
        if op.kind == "pad":
            before = tuple(int(pads[0]) for pads in op.options["paddings"])
            return Move(name, source, "pad", order, before, ones, ones, ones)
        if "permutation" in op.options:
            permutation = tuple(int(axis) - 1 for axis in op.options["permutation"][1:])
            return Move(name, source, "transpose", permutation, zeros, ones, ones, ones)
        if "repeats" in op.options:
            repeat = tuple(int(times) for times in op.options["repeats"])
            return Move(name, source, "repeat", order, zeros, ones, (*repeat, *ones[len(repeat) :]), ones)
        if op.kind == "reshape":
            return Reshape(name, source)
        raise UnsupportedOp(f"{op.name}: the integer program has no step for {op.options.get('what', op.kind)}")

    def _lookup(self, op: Op, name: str, source: str) -> Lookup:
        tensor, grid = self.builder.tensors[source], self.simulation.grid(op)
        container = container_low(self.simulation.grids[self.simulation.grid_of[op.inputs[0]]])
        codes = np.rint(self.simulation.table(op).astype(np.float64) / grid.steps[0]).astype(np.int32)
        table = f"{name}.table"
        self.builder.arrays[table] = codes[tensor.low - container : tensor.high - container + 1]
        return Lookup(name, (source,), table, tensor.low)

    def _pool(self, op: Op, name: str, source: str, grid: Grid) -> Step:
        kernel, stride = _pair(op, "pool"), _pair(op, "strides")
        sides = _padding(op, self._rows_columns(op.inputs[0]), kernel, stride, (1, 1))
        if op.kind == "max_pool":
            return MaxPool(name, (source,), kernel, stride, sides, (1, 1))
        if self.simulation.kernels == ONNXRUNTIME:
            return AveragePool(name, (source,), kernel, stride, sides, False, 0, "half_even")
        # LiteRT averages codes as int8 stores them, so the zero point there decides about ties
        return AveragePool(name, (source,), kernel, stride, sides, False, zero_point_of(grid), "half_away")

    def _mean(self, op: Op, name: str, source: str, grid: Grid) -> Mean:
        axes = tuple(int(axis) - 1 for axis in op.options["axes"])
        count = math.prod(self.builder.tensors[source].shape[axis] for axis in axes)
        tensor = self.builder.tensors[source]
        if self.simulation.kernels == ONNXRUNTIME:
            stages = exact_mean(count, "half_even")
        elif self.simulation.kernels == XNNPACK:
            stages = float32_reciprocal_mean(count, tensor.largest)
        else:
            stages = fixed_point_mean(count)
        bits = self.builder.sum_bits(source, count)
        return Mean(name, (source,), axes, bits, (*stages, Clamp(grid.low, grid.high)))

    def _rows_columns(self, name: str) -> Pair:
        shape = self.builder.tensors[self.names[name]].shape
        return (1, shape[0]) if len(shape) == 2 else (shape[0], shape[1])


def _arranged(op: Op, codes: NDArray[Any]) -> NDArray[Any]:
    """Keras' weight as [out, rows, columns, in / groups], or [out, in] of a dense layer."""
    if op.kind == "linear":
        return codes.T
    codes = codes[None] if op.kind.endswith("1d") else codes
    if op.kind == "conv_transpose2d":  # [rows, columns, out, in], as a convolution of the zero-stuffed input
        return codes[::-1, ::-1].transpose(2, 0, 1, 3)
    return codes.transpose(2, 0, 1, 3) if op.kind.startswith("depthwise") else codes.transpose(3, 0, 1, 2)


def _padding(op: Op, inside: Pair, kernel: Pair, stride: Pair, dilation: Pair) -> Sides:
    if op.options.get("padding", "valid") != "same":
        return (0, 0, 0, 0)
    rows, columns = (same_padding(n, k, s, d) for n, k, s, d in zip(inside, kernel, stride, dilation, strict=True))
    return (*rows, *columns)


def _pair(op: Op, name: str) -> Pair:
    value = tuple(int(v) for v in op.options.get(name, (1, 1)))
    return (1, value[0]) if len(value) == 1 else (value[0], value[1])

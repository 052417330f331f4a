"""The simulation of a recipe: a function that computes the numbers of LiteRT's integer kernels.

Every tensor holds grid values as float32, from which its codes can be read back exactly, whatever the
step. Layers accumulate codes exactly (in float64 where float32 could round), biases lie on the
accumulator's grid, and each op rounds as the recipe's target says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.bias_correction import snap_bias
from mpq_plugins.errors import RecipeMismatch
from mpq_plugins.grid import Grid
from mpq_plugins.targets import Target
from mpq_tfmot import arithmetic
from mpq_tfmot.arithmetic import BUILTIN, XNNPACK
from mpq_tfmot.canonical import CanonicalModel
from mpq_tfmot.canonical_ops import FLOAT, Op, combine, compute, multiply
from mpq_tfmot.keras import tf

EXACT_FLOAT32 = 2**24
BATCH = 256
COMPUTED = ("add", "lookup", "avg_pool", "global_avg_pool")
"""The ops without a weight that do arithmetic on codes; all others pass grid values on."""


@dataclass(frozen=True)
class Simulation:
    """A model on its grids, and the arithmetic that computes on them.

    model: canonical; weights and biases lie on their grids. grids: site name -> Grid.
    grid_of: op name -> activation site. target: whose rounding is followed.

    ``simulation(x)`` gives what the integer model gives, as float32; ``sites(x)`` every site by name.
    """

    model: CanonicalModel
    grids: Mapping[str, Grid]
    grid_of: Mapping[str, str]
    target: Target

    @property
    def kernels(self) -> str:
        """The kernels of the target's runtime: "xnnpack", "builtin", or "cpu" of onnxruntime."""
        return self.target.runtime.engine if self.target.runtime else XNNPACK

    def __call__(self, inputs: Any) -> Any:
        """The outputs: one tensor, or a list of them."""
        values = self.run(inputs)
        outputs = [values[name] for name in self.model.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def predict(self, inputs: Any, batch_size: int = BATCH) -> Any:
        """The outputs as NumPy arrays, computed batch by batch."""
        arrays = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        parts = []
        for start in range(0, len(arrays[0]), batch_size):
            result = self([a[start : start + batch_size] for a in arrays])
            parts.append([r.numpy() for r in (result if isinstance(result, list) else [result])])
        joined = [np.concatenate(p) for p in zip(*parts, strict=True)]
        return joined[0] if len(joined) == 1 else joined

    def sites(self, inputs: Any) -> dict[str, Any]:
        """Op name -> tensor, of every op that is computed in integers."""
        return {name: value for name, value in self.run(inputs).items() if name in self.grid_of}

    def run(self, inputs: Any) -> dict[str, Any]:
        """The output of every op by its name."""
        arrays = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        given = dict(zip((op.name for op in self.model.inputs), arrays, strict=True))
        values: dict[str, Any] = {}
        for op in self.model.ops:
            if op.kind == "input":
                values[op.name] = self.step(op, [tf.convert_to_tensor(given[op.name], tf.float32)])
            else:
                values[op.name] = self.step(op, [values[name] for name in op.inputs])
        return values

    def grid(self, op: Op) -> Grid:
        """The grid of the op's output."""
        return self.grids[self.grid_of[op.name]]

    def step(self, op: Op, inputs: list[Any]) -> Any:
        """The output of one op, from its inputs' grid values."""
        if op.kind == FLOAT:
            return compute(op, inputs)
        grid = self.grid(op)
        if op.kind == "input":
            codes = arithmetic.quantize_input(inputs[0], grid, self.kernels)
            return clamp_on_grid(op, grid, arithmetic.values_of(codes, grid))
        return clamp_on_grid(op, grid, self._on_grid(op, grid, inputs))

    def _on_grid(self, op: Op, grid: Grid, inputs: list[Any]) -> Any:
        if not (op.weighted or op.kind in COMPUTED):
            return combine(op, inputs)
        sources = [self.grids[self.grid_of[name]] for name in op.inputs]
        codes = [arithmetic.codes_of(x, source) for x, source in zip(inputs, sources, strict=True)]
        if op.kind == "lookup":
            return tf.gather(self.table(op), tf.cast(codes[0], tf.int32) - arithmetic.container_low(sources[0]))
        return arithmetic.values_of(self._computed(op, grid, sources, codes), grid)

    def _computed(self, op: Op, grid: Grid, sources: list[Grid], codes: list[Any]) -> Any:
        """Codes of the ops that requantize or average, before they are clipped."""
        if op.weighted:
            return self._weighted(op, grid, sources[0], codes[0])
        if op.kind == "add":
            return self._add(grid, sources, codes)
        if op.kind == "global_avg_pool":
            return arithmetic.mean(codes[0], op.options["axes"], op.options["keepdims"], self.kernels)
        flat = len(op.shape) == 2
        x = tf.expand_dims(codes[0], 1) if flat else codes[0]
        pool, strides = ((1, *v)[-2:] for v in (tuple(op.options["pool"]), tuple(op.options["strides"])))
        y = arithmetic.average_pool(x, grid, pool, strides, str(op.options["padding"]).upper(), self.kernels)
        return tf.squeeze(y, 1) if flat else y

    def table(self, op: Op) -> NDArray[np.float32]:
        """The values of a function of one element for all 256 codes that the container of its input has."""
        source = self.grids[self.grid_of[op.inputs[0]]]
        codes = np.arange(256) + arithmetic.container_low(source)
        values = combine(op, [tf.constant(codes * arithmetic.step_of(source), tf.float32)])
        grid = self.grid(op)
        return arithmetic.values_of(tf.round(values / arithmetic.step_of(grid)), grid).numpy()

    def _add(self, grid: Grid, sources: list[Grid], codes: list[Any]) -> Any:
        a, b = (tf.cast(c, tf.float64) for c in codes)
        kernel = arithmetic.ADDS.get(self.target.runtime.engine) if self.target.runtime else None
        if kernel is None:
            return arithmetic.add_exactly(a, b, (sources[0], sources[1]), grid, self.target.rounding("add"))
        return kernel(a, b, (sources[0], sources[1]), grid)

    def _weighted(self, op: Op, grid: Grid, source: Grid, codes: Any) -> Any:
        weight_grid = self.grids[op.weight_site]
        bias = np.rint(op.bias / accumulator_steps(op, weight_grid, source))
        weight = weight_grid.quantize(op.weight)
        # XNNPACK does not take a transposed convolution of an open batch, which the built-in kernel then computes
        twice = op.kind != "linear" and (
            self.kernels == BUILTIN or (self.kernels == XNNPACK and op.kind == "conv_transpose2d")
        )
        dtype = tf.float64 if twice or needs_float64(op, weight, bias, source) else tf.float32
        accumulator = multiply(op, tf.cast(codes, dtype), tf.cast(weight, dtype), tf.cast(bias, dtype))
        if twice:
            return arithmetic.requantize_twice(accumulator, weight_grid.steps, source, grid)
        return arithmetic.requantize(accumulator, weight_grid.steps, source, grid, self.target.rounding(op.kind))


def clamp_codes(op: Op, grid: Grid) -> tuple[int, int]:
    """Smallest and largest code that an op gives: those of the grid, and its own clamp moved inwards onto it."""
    step = grid.steps[0]
    low = grid.low if op.low is None else max(grid.low, math.ceil(op.low / step))
    high = grid.high if op.high is None else min(grid.high, math.floor(op.high / step))
    return low, high


def clamp_on_grid(op: Op, grid: Grid, x: Any) -> Any:
    """The op's own clamp, on the grid of its output."""
    if op.low is None and op.high is None:
        return x
    low, high = clamp_codes(op, grid)
    step = arithmetic.step_of(grid)
    return tf.clip_by_value(x, np.float32(low) * step, np.float32(high) * step)


def accumulator_steps(op: Op, weight_grid: Grid, input_grid: Grid) -> NDArray[np.float64]:
    """step_input * step_weight of each output channel, [out]."""
    channels = op.weight.shape[op.channel_axis]
    return np.broadcast_to(np.asarray(weight_grid.steps) * input_grid.steps[0], (channels,))


def needs_float64(op: Op, weight: NDArray[Any], bias: NDArray[np.float64], input_grid: Grid) -> bool:
    """Whether a float32 sum of the layer's products of codes could pass 2**24 and so round."""
    axis = weight.ndim + op.channel_axis
    norms = np.abs(weight.astype(np.float64)).sum(axis=tuple(d for d in range(weight.ndim) if d != axis))
    largest = max(input_grid.high, -input_grid.low)
    return bool((norms * largest + np.abs(bias) >= EXACT_FLOAT32).any())


def put_on_grids(model: CanonicalModel, grid_of: Mapping[str, str], grids: Mapping[str, Grid]) -> CanonicalModel:
    """The model with every weight and bias at the nearest value that it may take.

    Raises RecipeMismatch where a site has no grid, GridError where a bias does not fit its accumulator.
    """
    ops = []
    for op in model.ops:
        if op.weighted:
            weight_grid, source = _grid(grids, op.weight_site), _grid(grids, grid_of[op.inputs[0]])
            bias = snap_bias(op.bias, source.steps[0], weight_grid, op.name)
            op = replace(op, weight=weight_grid.project(op.weight), bias=bias)
        ops.append(op)
    return replace(model, ops=tuple(ops))


def _grid(grids: Mapping[str, Grid], site: str) -> Grid:
    try:
        return grids[site]
    except KeyError:
        raise RecipeMismatch(f"the recipe has no grid for site {site}") from None

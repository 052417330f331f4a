"""From a simulation to an ONNX graph: Keras' ops on channels-last tensors, ONNX's convolutions on channels-first ones.

Images and signals are transposed where an op wants the other order, on the integers, once for each tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.onnx.writer import Codes, GraphWriter, Weight
from mpq_plugins.grid import Grid
from mpq_tfmot.canonical import last_integer_ops
from mpq_tfmot.canonical_ops import FLOAT, Op, compute
from mpq_tfmot.keras import tf
from mpq_tfmot.onnx_geometry import WEIGHT_ORDERS, deconvolution, pads
from mpq_tfmot.simulation import Simulation, accumulator_steps, clamp_codes

BATCH = "batch"
FIRST = ("conv1d", "conv2d", "depthwise_conv1d", "depthwise_conv2d", "conv_transpose2d", "max_pool", "avg_pool")
"""The ops that ONNX computes on channels-first tensors."""


def _softmax(x: NDArray[Any]) -> NDArray[Any]:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


_TAILS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "Softmax": _softmax,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Relu": lambda x: np.maximum(x, 0),
    "Identity": lambda x: x,
}
"""Float functions that ONNX has in a word."""


class Walk:
    """Writes the ops of a simulation; tensors by op name, in either order of their axes."""

    def __init__(self, writer: GraphWriter, simulation: Simulation) -> None:
        self.writer = writer
        self.simulation = simulation
        self.last: dict[str, Codes] = {}
        self.first: dict[str, Codes] = {}

    def write(self) -> list[str]:
        """Write all ops; returns the float tensors with which the integer part ends. Raises UnsupportedOp."""
        model, floats = self.simulation.model, {}
        for op in model.ops:
            if op.kind == FLOAT:
                floats[op.name] = self._float(op, [floats.get(name) or self._value(name) for name in op.inputs])
                continue
            made = self._made(op)
            (self.first if op.kind in FIRST else self.last)[op.name] = self._clamped(op, made)
        for index, name in enumerate(model.outputs):
            output = "output" if len(model.outputs) == 1 else f"output_{index}"
            self.writer.output(output, floats.get(name) or self._value(name), [BATCH, *model[name].shape])
        return [self._value(name) for name in last_integer_ops(model)]

    def _value(self, name: str) -> str:
        return self.writer.float_of(self.channels_last(name))

    def _float(self, op: Op, inputs: list[str]) -> str:
        """An op behind the integer part: softmax and the like, told by what they compute."""
        probe = np.random.default_rng(0).normal(size=(2, *op.shape)).astype(np.float32)
        for word, function in _TAILS.items():
            same = len(inputs) == 1 and self.simulation.model[op.inputs[0]].shape == op.shape
            if same and np.allclose(compute(op, [tf.constant(probe)]), function(probe), atol=1e-5):
                return self.writer.node(word, inputs, f"{op.name}/float")
        raise UnsupportedOp(
            f"{op.name}: {op.options.get('what', op.kind)} at the end of the model has no ONNX form here "
            f"({', '.join(_TAILS)} have); let the model end before it"
        )

    def channels_last(self, name: str) -> Codes:
        """The tensor as Keras has it."""
        if name not in self.last:
            rank = len(self.simulation.model[name].shape) + 1
            self.last[name] = self._transposed(self.first[name], f"{name}/last", (0, *range(2, rank), 1))
        return self.last[name]

    def channels_first(self, name: str) -> Codes:
        """The tensor with its channels behind the batch."""
        if name not in self.first:
            rank = len(self.simulation.model[name].shape) + 1
            self.first[name] = self._transposed(self.last[name], f"{name}/first", (0, rank - 1, *range(1, rank - 1)))
        return self.first[name]

    def _transposed(self, x: Codes, name: str, order: tuple[int, ...]) -> Codes:
        return _codes(self.writer.moved("Transpose", x, name, perm=list(order)))

    def _clamped(self, op: Op, x: Codes) -> Codes:
        if op.low is None and op.high is None:
            return x
        low, high = clamp_codes(op, x.grid)
        clipped = self.writer.clip(x, f"{op.name}/clamp", low, max(low, high))
        if op.name in self.writer.sites:
            self.writer.sites[op.name] = (clipped.name, clipped.container.zero_point)
        return clipped

    def _made(self, op: Op) -> Codes:
        grid = self.simulation.grid(op)
        if op.kind == "input":
            x = self.writer.input(op.name, [BATCH, *op.shape])
            return self.writer.quantize(x, op.name, _tensor(op), grid)
        if op.kind == "linear":
            return self._dense(op, grid)
        if op.weighted:
            return self._convolution(op, grid)
        if op.kind == "add":
            values = [self.writer.float_of(self.channels_last(name)) for name in op.inputs]
            return self.writer.quantize(self.writer.node("Add", values, f"{op.name}/sum"), op.name, _tensor(op), grid)
        if op.kind in ("max_pool", "avg_pool"):
            return self._pool(op, grid)
        if op.kind == "global_avg_pool":
            return self._mean(op, grid)
        return self._moved(op, grid)

    def _convolution(self, op: Op, grid: Grid) -> Codes:
        stride, dilation = list(op.options.get("strides", (1,))), list(op.options.get("dilation", (1,)))
        kernel = list(op.weight.shape[:-2])
        dims = len(kernel)
        stride, dilation = (v * dims if len(v) == 1 else v for v in (stride, dilation))
        if op.kind.startswith("depthwise"):
            stride = [max(stride)] * dims
        inside = self.simulation.model[op.inputs[0]].shape[:-1]
        attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "dilations": dilation}
        if op.kind == "conv_transpose2d":
            attributes |= deconvolution(op, inside, kernel, stride)
        else:
            attributes["pads"] = pads(op, inside, kernel, stride, dilation)
        if op.kind.startswith("depthwise"):
            attributes["group"] = int(op.weight.shape[-2])
        word = "ConvTranspose" if op.kind == "conv_transpose2d" else "Conv"
        x = self.channels_first(op.inputs[0])
        return self.writer.layer(word, op.name, _tensor(op), x, self._weight(op), grid, **attributes)

    def _dense(self, op: Op, grid: Grid) -> Codes:
        x, weight = self.channels_last(op.inputs[0]), self._weight(op)
        if len(op.shape) == 1:
            return self.writer.layer("Gemm", op.name, _tensor(op), x, weight, grid, transB=1)
        # Gemm takes a matrix: the axes in front of the features become one
        rows = self._reshaped(x, f"{op.name}/rows", (int(op.weight.shape[0]),))
        made = self.writer.layer("Gemm", op.name, f"{op.name}/matrix", rows, weight, grid, transB=1)
        whole = self._reshaped(made, _tensor(op), op.shape)
        self.writer.sites[op.name] = (whole.name, whole.container.zero_point)
        return whole

    def _weight(self, op: Op) -> Weight:
        grid, order = self.simulation.grids[op.weight_site], WEIGHT_ORDERS[op.kind]
        source = self.simulation.grids[self.simulation.grid_of[op.inputs[0]]]
        codes = np.ascontiguousarray(grid.quantize(op.weight).transpose(order))
        if grid.axis is not None:
            grid = Grid(grid.bits, grid.steps, grid.signed, grid.narrow, order.index(grid.axis))
        bias = op.bias / accumulator_steps(op, self.simulation.grids[op.weight_site], source)
        return Weight(codes, grid, bias)

    def _pool(self, op: Op, grid: Grid) -> Codes:
        kernel, stride = (list(op.options[key]) for key in ("pool", "strides"))
        inside = self.simulation.model[op.inputs[0]].shape[:-1]
        attributes = {"kernel_shape": kernel, "strides": stride, "pads": pads(op, inside, kernel, stride, [1, 1])}
        x = self.channels_first(op.inputs[0])
        if op.kind == "max_pool":
            return _codes(self.writer.moved("MaxPool", x, _tensor(op), **attributes))
        mean = self.writer.node("AveragePool", [self.writer.float_of(x)], f"{op.name}/mean", **attributes)
        return self.writer.quantize(mean, op.name, _tensor(op), grid)

    def _mean(self, op: Op, grid: Grid) -> Codes:
        axes = self.writer.constant(f"{op.name}/axes", list(op.options["axes"]), "int64")
        value = self.writer.float_of(self.channels_last(op.inputs[0]))
        keepdims = int(op.options["keepdims"])
        mean = self.writer.node("ReduceMean", [value, axes], f"{op.name}/mean", keepdims=keepdims)
        return self.writer.quantize(mean, op.name, _tensor(op), grid)

    def _moved(self, op: Op, grid: Grid) -> Codes:
        """An op without arithmetic, on channels-last codes."""
        parts, writer, name = [self.channels_last(source) for source in op.inputs], self.writer, _tensor(op)
        x = parts[0]
        if op.kind == "relu":
            return x
        if op.kind == "lookup":
            return self._looked_up(op, x, grid)
        if op.kind == "concat":
            return _codes(writer.joined("Concat", parts, name, axis=int(op.options["axis"])))
        if op.kind == "pad":
            before, after = zip((0, 0), *op.options["paddings"], strict=True)
            amounts = writer.constant(f"{name}/pads", [*before, *after], "int64")
            return _codes(writer.moved("Pad", x, name, [amounts, writer.zero(x)]))
        if "permutation" in op.options:
            return self._transposed(x, name, tuple(int(a) for a in op.options["permutation"]))
        if "repeats" in op.options:
            for axis, times in enumerate(op.options["repeats"], start=1):
                size = self.simulation.model[op.inputs[0]].shape[axis - 1]
                rows = writer.constant(f"{name}/rows{axis}", np.arange(size).repeat(times), "int64")
                x = _codes(writer.moved("Gather", x, f"{name}/{axis}", [rows], axis=axis))
            return x
        if op.kind == "reshape":
            return self._reshaped(x, name, op.shape)
        raise UnsupportedOp(f"{op.name}: {op.options.get('what', op.kind)} has no ONNX form here")

    def _looked_up(self, op: Op, x: Codes, grid: Grid) -> Codes:
        """A function of one element as a table of the codes of its output."""
        source = self.simulation.grids[self.simulation.grid_of[op.inputs[0]]]
        codes = np.arange(source.low, source.high + 1)
        first = -128 if source.signed else 0
        values = np.asarray(self.simulation.table(op))[codes - first]
        table = self.writer.on_grid(values, op.name, f"{op.name}/table", grid)
        # an index from zero up: stored codes less the lowest one
        index = self.writer.node("Cast", [x.name], f"{op.name}/stored", to=6)
        lowest = self.writer.constant(f"{op.name}/lowest", source.low + x.container.zero_point, "int32")
        index = self.writer.node("Sub", [index, lowest], f"{op.name}/index")
        made = Codes(self.writer.node("Gather", [table.name, index], _tensor(op)), grid, table.container)
        self.writer.sites[op.name] = (made.name, made.container.zero_point)
        return made

    def _reshaped(self, x: Codes, name: str, shape: tuple[int, ...]) -> Codes:
        sizes = self.writer.constant(f"{name}/shape", [-1, *shape], "int64")
        return _codes(self.writer.moved("Reshape", x, name, [sizes]))


def _tensor(op: Op) -> str:
    """The name of an op's codes, which is not that of an output, whatever the layer is called."""
    return f"{op.name}/codes"


def _codes(value: Any) -> Codes:
    assert isinstance(value, Codes)
    return value


def channels_first(op: Op, array: NDArray[Any]) -> NDArray[Any]:
    """A channels-last array of an op in the order in which the graph stores it."""
    return np.moveaxis(array, -1, 1) if op.kind in FIRST else array

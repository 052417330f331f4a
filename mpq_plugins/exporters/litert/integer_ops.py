"""Ops without a weight as LiteRT has them, each from the codes of its inputs to those of its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.litert import layers, rows
from mpq_plugins.exporters.litert.emission import LOWEST, Emission, builtin
from mpq_plugins.exporters.litert.geometry import as_images, average_padding, max_pool_padding
from mpq_plugins.graph import arithmetic
from mpq_plugins.graph.arithmetic import int8_zero_point
from mpq_plugins.graph.lookups import table_of_rows
from mpq_plugins.graph.node import CONSTANT, Node
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.windows import inside
from mpq_plugins.grid import Grid

OPTIMIZED = "optimized"
"""The engine of LiteRT's kernels without a delegate."""

Emit = Callable[[Emission, Node, list[int], Grid, str], int]
"""Writes a node's op: from its inputs' tensors and its own grid to the tensor of the name."""


def emit(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    """Write a node's op. Raises UnsupportedOp, naming the node, for an op that LiteRT has no form of."""
    op = op_of(node)
    if op.table:
        return _looked_up(emission, node, inputs, grid, name)
    found = _combined if op.arity == 2 and builtin(node) else _EMITTERS.get(node.op)
    if found is None:
        raise UnsupportedOp(f"{node.name}: LiteRT has no form of {node.op} that is known here", [node.name])
    return found(emission, node, inputs, grid, name)


def _looked_up(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    """Any function of one element as a table over the codes of its input."""
    writer, kinds = emission.writer, emission.writer.schema.TensorType
    source = emission.quantized.grid(node.inputs[0])
    codes = emission.quantized.table(node)
    first = source.low + int8_zero_point(source) - LOWEST  # an index of 0 is the lowest int8
    table = np.concatenate([np.full(first, codes[0]), codes])
    wide = writer.op(
        "CAST",
        inputs,
        writer.variable(f"{name}/wide", node.shape, "int32"),
        inDataType=kinds.INT8,
        outDataType=kinds.INT32,
    )
    offset = emission.numbers(f"{name}/offset", -LOWEST)
    index = writer.op("ADD", [wide, offset], writer.variable(f"{name}/index", node.shape, "int32"))
    output = emission.codes(name, node.shape, grid)
    return writer.op("GATHER", [emission.constant_codes(f"{name}/table", table, grid), index], output, axis=0)


def _entered(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    quantized = emission.quantized
    source = quantized.graph[node.inputs[0]]
    rows = table_of_rows(quantized.graph, source)
    if source.op == CONSTANT or rows is not None:
        values = np.asarray(source.attrs["value"] if rows is None else rows, np.float32)
        codes = arithmetic.entered(NUMPY_RUNNER, values, grid, quantized.runtime.entry, quantized.rounding(node))
        if rows is None:
            return emission.constant_codes(name, codes, grid)
        table, output = emission.constant_codes(f"{name}/rows", codes, grid), emission.codes(name, node.shape, grid)
        return emission.writer.op("GATHER", [table, inputs[0]], output, axis=0)
    return emission.writer.op(builtin(node), inputs, emission.codes(name, node.shape, grid))


def _combined(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    """An operator of two activations."""
    options = op_of(node).litert(node.attrs)
    return emission.writer.op(builtin(node), inputs, emission.codes(name, node.shape, grid), **options)


def _joined(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    output = emission.codes(name, node.shape, grid)
    return emission.writer.op(builtin(node), inputs, output, axis=node.attrs["axis"])


def _mean(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    axes = emission.numbers(f"{name}/axes", node.attrs["axes"])
    keep = bool(node.attrs["keepdims"])
    if keep and emission.quantized.runtime.engine == OPTIMIZED:  # whose own kernel of kept axes rounds otherwise
        kept = [size for axis, size in enumerate(node.shape) if axis not in node.attrs["axes"]]
        flat = emission.codes(f"{name}/flat", tuple(kept), grid)
        emission.writer.op(builtin(node), [inputs[0], axes], flat, keepDims=False)
        return emission.reshaped(flat, node.shape, emission.codes(name, node.shape, grid), name)
    output = emission.codes(name, node.shape, grid)
    return emission.writer.op(builtin(node), [inputs[0], axes], output, keepDims=keep)


def _padded(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    pads = emission.numbers(f"{name}/paddings", node.attrs["pads"])
    return emission.writer.op(builtin(node), [inputs[0], pads], emission.codes(name, node.shape, grid))


def _transposed(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    order = node.attrs["order"]
    if tuple(order) == tuple(range(len(order))):
        return inputs[0]
    given = emission.numbers(f"{name}/order", order)
    return emission.writer.op(builtin(node), [inputs[0], given], emission.codes(name, node.shape, grid))


def _reshaped(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    return emission.reshaped(inputs[0], node.shape, emission.codes(name, node.shape, grid), name)


def _sliced(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    a, output = node.attrs, emission.codes(name, node.shape, grid)
    return emission.strided(inputs[0], output, name, a["starts"], a["stops"], a["steps"])


def _kept(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    return emission.clipped(node, grid, inputs[0], name)


def _upsampled(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    wide = as_images(node)
    times = wide.attrs["times"]
    if len(wide.shape) != 4 or times[0] != 1 or times[3] != 1:
        raise UnsupportedOp(f"{node.name}: LiteRT repeats rows and columns of images only, not {times}", [node.name])
    x, _ = emission.as_image(node, inputs[0], name)
    output, done = layers.image_of(emission, node, wide, grid, name)
    size = emission.numbers(f"{name}/size", inside(wide.shape, "NHWC"))
    emission.writer.op(builtin(node), [x, size], output)
    return done()


def _pooled(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    wide, largest = as_images(node), node.op == "max_pool"
    x, shape = emission.as_image(node, inputs[0], name)
    padding = (max_pool_padding if largest else average_padding)(wide, shape)
    if padding.pads:
        x = emission.padded(x, shape, padding.before, emission.quantized.grid(node.inputs[0]), name, lowest=largest)
    output, done = layers.image_of(emission, node, wide, grid, name)
    (height, width), (rows, columns) = wide.attrs["kernel"], wide.attrs["stride"]
    word = getattr(emission.writer.schema.Padding, padding.word)
    emission.writer.op(
        builtin(node), [x], output, padding=word, filterHeight=height, filterWidth=width, strideH=rows, strideW=columns
    )
    return done()


_EMITTERS: Mapping[str, Emit] = {
    "input": _entered,
    "concat": _joined,
    "global_avg_pool": _mean,
    "pad": _padded,
    "transpose": _transposed,
    "reshape": _reshaped,
    "slice": _sliced,
    "clamp": _kept,
    "upsample": _upsampled,
    "max_pool": _pooled,
    "avg_pool": _pooled,
    "normalize": rows.normalized,
    "softmax": rows.softmaxed,
    "linear": layers.linear,
    **dict.fromkeys(("conv1d", "conv2d", "depthwise_conv1d", "depthwise_conv2d"), layers.convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), layers.transposed_convolution),
}

"""ONNX nodes for ops in real numbers: on dequantized values in front of a QuantizeLinear, and in float parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.onnx.layers import float_layer
from mpq_plugins.exporters.onnx.moves import flat
from mpq_plugins.exporters.onnx.writer import GraphWriter
from mpq_plugins.graph.arithmetic import reciprocal_keeps_ties
from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.node import BATCH_NORM, Batch, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.ops.affine import factors
from mpq_plugins.graph.ops.softmax import hides

Real = Callable[[GraphWriter, Graph, Node, str, Sequence[str]], str]
"""writer, graph, node, name of the tensor to make, float tensors -> the float tensor of the node's output."""


def real(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    """The output of a node, before its own clamp. Raises UnsupportedOp, naming it, where ONNX has no form for it."""
    if node.weighted:
        return float_layer(writer, node, name, inputs[0])
    if node.op in REALS:
        return REALS[node.op](writer, graph, node, name, inputs)
    op = op_of(node)
    spelled = op.spellings.get("onnx", ())
    if not spelled:
        raise UnsupportedOp(f"{node.name}: {node.op} in float has no ONNX form here; {WAY_OUT}")
    return writer.node(spelled[0], list(inputs), name, **op.onnx(node.attrs))


WAY_OUT = "let the model end before it, or put it into a graph of its own"


def _average(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    a = node.attrs
    before = graph[node.inputs[0]].shape
    inside = before[2:]
    overhangs = a.get("overhang", (0,) * len(inside))
    for size, kernel, stride, (padding, _), more in zip(
        inside, a["kernel"], a["stride"], a["padding"], overhangs, strict=True
    ):
        if more:
            raise UnsupportedOp(
                f"{node.name}: average pooling in ceil_mode has windows past the edge of its input (size {size}, "
                f"window {kernel}, stride {stride}, padding {padding}), for which onnxruntime's kernels divide by "
                "different counts; pad before the pooling, or leave ceil_mode out"
            )
    return writer.node(
        "AveragePool",
        inputs,
        name,
        kernel_shape=list(a["kernel"]),
        strides=list(a["stride"]),
        pads=flat(a["padding"]),
        count_include_pad=int(a["counts_padding"]),
    )


def _mean(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    shape, axes = graph[node.inputs[0]].shape, node.attrs["axes"]
    window = [shape[axis] for axis in axes]
    if any(isinstance(size, Batch) for size in window):
        raise UnsupportedOp(f"{node.name}: a mean over the batch has no ONNX form")
    count = int(np.prod([size for size in window if isinstance(size, int)]))
    # the integer kernel of a global average multiplies by a reciprocal, which moves ties at some sizes
    whole = tuple(axes) == tuple(range(2, len(shape)))
    if whole and node.attrs["keepdims"] and reciprocal_keeps_ties(count):
        return writer.node("GlobalAveragePool", inputs, name)
    numbers = writer.constant(f"{name}.axes", list(axes), "int64")
    return writer.node("ReduceMean", [*inputs, numbers], name, keepdims=int(node.attrs["keepdims"]))


def _silu(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    return writer.node("Mul", [inputs[0], writer.node("Sigmoid", inputs, f"{name}.gate")], name)


def _softmax(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    x, scale, mask = inputs[0], node.attrs.get("scale", 1.0), node.attrs.get("mask")
    if scale != 1.0:
        x = writer.node("Mul", [x, writer.constant(f"{name}.scale", np.float32(scale))], f"{name}.scaled")
    if mask is not None:
        x = writer.node("Add", [x, writer.constant(f"{name}.mask", mask)], f"{name}.masked")
    axis = int(node.attrs["axis"])
    if len(inputs) == 1:
        return softmax(writer, name, x, axis)
    x = masked(writer, name, x, inputs[1], node.attrs.get("shows"), hides(node))
    if np.isfinite(hides(node)):
        return softmax(writer, name, x, axis)
    # rows that are hidden as a whole are zeros
    axes, least = writer.constant(f"{name}.axes", [axis], "int64"), writer.constant(f"{name}.least", -np.inf)
    top = writer.node("ReduceMax", [x, axes], f"{name}.top", keepdims=1)
    seen, zero = writer.node("Greater", [top, least], f"{name}.seen"), writer.constant(f"{name}.zero", 0.0)
    shares = softmax(writer, f"{name}.shares", writer.node("Where", [seen, x, zero], f"{name}.visible"), axis)
    return writer.node("Where", [seen, shares, zero], name)


def masked(writer: GraphWriter, name: str, scores: str, mask: str, shows: bool | None, hides: float) -> str:
    """Scores under a mask: numbers that are added, or truth values (shows: or not), which add ``hides`` elsewhere."""
    if shows is None:
        return writer.node("Add", [scores, mask], f"{name}.masked")
    if shows:
        mask = writer.node("Sub", [writer.constant(f"{name}.one", 1.0), mask], f"{name}.hidden")
    if np.isfinite(hides):
        added = writer.node("Mul", [mask, writer.constant(f"{name}.hides", hides)], f"{name}.added")
        return writer.node("Add", [scores, added], f"{name}.masked")
    where = writer.node("Cast", [mask], f"{name}.hides", to=writer.onnx.TensorProto.BOOL)
    return writer.node("Where", [where, writer.constant(f"{name}.infinite", hides), scores], f"{name}.masked")


def softmax(writer: GraphWriter, name: str, x: str, axis: int) -> str:
    """A softmax in float: between two grids onnxruntime would take a kernel of its own, whose table rounds otherwise.

    A clip to all float32 numbers keeps it apart.
    """
    lowest = writer.constant(f"{name}.lowest", np.finfo(np.float32).min)
    return writer.node("Softmax", [writer.node("Clip", [x, lowest], f"{name}.apart")], name, axis=axis)


def _sequence(*steps: str) -> Real:
    """Operators of ONNX one behind another."""

    def rule(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
        x = inputs[0]
        for index, step in enumerate(steps, start=1):
            x = writer.node(step, [x], name if index == len(steps) else f"{name}.{index}")
        return x

    return rule


def _shifted(before: float, op: str, after: float) -> Real:
    """An operator of ONNX between two numbers that are added."""

    def rule(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
        x = inputs[0]
        if before:
            x = writer.node("Add", [x, writer.constant(f"{name}.before", before)], f"{name}.shifted")
        y = writer.node(op, [x], f"{name}.{op}" if after else name)
        return writer.node("Add", [y, writer.constant(f"{name}.after", after)], name) if after else y

    return rule


def _power(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    return writer.node("Pow", [inputs[0], writer.constant(f"{name}.exponent", node.attrs["exponent"])], name)


def _tanhshrink(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    return writer.node("Sub", [inputs[0], writer.node("Tanh", inputs, f"{name}.tanh")], name)


def _threshold(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    limit, value = (writer.constant(f"{name}.{word}", node.attrs[word]) for word in ("threshold", "value"))
    above = writer.node("Greater", [inputs[0], limit], f"{name}.above")
    return writer.node("Where", [above, inputs[0], value], name)


def _affine(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    scale, offset = factors(node)
    x, shifts = inputs[0], bool(np.any(offset))
    if np.any(np.asarray(scale) != 1) or not shifts:
        x = writer.node("Mul", [x, writer.constant(f"{name}.scale", scale)], f"{name}.scaled" if shifts else name)
    return writer.node("Add", [x, writer.constant(f"{name}.offset", offset)], name) if shifts else x


def _batch_norm(writer: GraphWriter, graph: Graph, node: Node, name: str, inputs: Sequence[str]) -> str:
    a = node.attrs
    shape = [-1 if axis == a["axis"] else 1 for axis in range(len(node.shape))]
    scale = np.asarray(a["gamma"]) / np.sqrt(np.asarray(a["variance"]) + a["epsilon"])
    factor = writer.constant(f"{name}.factor", scale.reshape(shape))
    shift = writer.constant(f"{name}.shift", (a["beta"] - a["mean"] * scale).reshape(shape))
    return writer.node("Add", [writer.node("Mul", [inputs[0], factor], f"{name}.scaled"), shift], name)


REALS: Mapping[str, Real] = {
    "avg_pool": _average,
    "global_avg_pool": _mean,
    "expm1": _shifted(0.0, "Exp", -1.0),
    "log1p": _shifted(1.0, "Log", 0.0),
    "log_sigmoid": _sequence("Neg", "Softplus", "Neg"),
    "power": _power,
    "rsqrt": _sequence("Sqrt", "Reciprocal"),
    "silu": _silu,
    "softmax": _softmax,
    "tanhshrink": _tanhshrink,
    "threshold": _threshold,
    AFFINE: _affine,
    BATCH_NORM: _batch_norm,
}
"""The ops whose form is no single operator of the same attributes."""

"""ONNX nodes for what only moves elements, or takes the largest: the same on codes and on float values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mpq_plugins.exporters.onnx.sizes import Sizes
from mpq_plugins.exporters.onnx.writer import Codes, GraphWriter, Value
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.ops.slice import slices
from mpq_plugins.graph.quantized import clamp_codes
from mpq_plugins.graph.windows import with_overhang

INT64_MAX = 2**63 - 1
Move = Callable[[GraphWriter, Node, str, Sequence[Value], Sizes], Value]
"""writer, node, name of the tensor to make, what the node reads, sizes -> the node's output before its own clamp."""


def _clamp(writer: GraphWriter, node: Node, name: str, parts: Sequence[Value], sizes: Sizes) -> Value:
    return parts[0]


def _concat(writer: GraphWriter, node: Node, name: str, parts: Sequence[Value], sizes: Sizes) -> Value:
    return writer.joined("Concat", parts, name, axis=int(node.attrs["axis"]))


def _reshape(writer: GraphWriter, node: Node, name: str, parts: Sequence[Value], sizes: Sizes) -> Value:
    wanted = writer.constant(f"{name}.shape", sizes.asked(node.shape), "int64")
    return writer.moved("Reshape", parts[0], name, [wanted])


def _transpose(writer: GraphWriter, node: Node, name: str, parts: Sequence[Value], sizes: Sizes) -> Value:
    return writer.moved("Transpose", parts[0], name, perm=list(node.attrs["order"]))


def _pad(writer: GraphWriter, node: Node, name: str, parts: Sequence[Value], sizes: Sizes) -> Value:
    before, after = zip(*node.attrs["pads"], strict=True)
    amounts = writer.constant(f"{name}.pads", [*before, *after], "int64")
    return writer.moved("Pad", parts[0], name, [amounts, writer.zero(parts[0])])


def _slice(writer: GraphWriter, node: Node, name: str, parts: Sequence[Value], sizes: Sizes) -> Value:
    found = {axis: each for axis, each in enumerate(slices(node.attrs)) if each != slice(0, None, 1)}
    if not found:
        return parts[0]
    ends = [(INT64_MAX if each.step > 0 else -INT64_MAX) if each.stop is None else each.stop for each in found.values()]
    given = {
        "starts": [each.start for each in found.values()],
        "ends": ends,
        "axes": list(found),
        "steps": [each.step for each in found.values()],
    }
    return writer.moved(
        "Slice", parts[0], name, [writer.constant(f"{name}.{key}", value, "int64") for key, value in given.items()]
    )


def _upsample(writer: GraphWriter, node: Node, name: str, parts: Sequence[Value], sizes: Sizes) -> Value:
    scales = writer.constant(f"{name}.scales", [float(times) for times in node.attrs["times"]])
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return writer.moved("Resize", parts[0], name, ["", scales], **nearest)


def _nearest(writer: GraphWriter, node: Node, name: str, parts: Sequence[Value], sizes: Sizes) -> Value:
    x = parts[0]
    chosen = {axis: source for axis, source in enumerate(node.attrs["sources"]) if source is not None}
    for axis, source in chosen.items():
        indices = writer.constant(f"{name}.source{axis}", source, "int64")
        x = writer.moved("Gather", x, name if axis == max(chosen) else f"{name}.{axis}", [indices], axis=axis)
    return x


def _max_pool(writer: GraphWriter, node: Node, name: str, parts: Sequence[Value], sizes: Sizes) -> Value:
    a = node.attrs
    sides = with_overhang(node)
    # a side must be smaller than the window, also where the window is dilated; then the rounding up of sizes is told
    told = any(after >= kernel for (_, after), kernel in zip(sides, a["kernel"], strict=True))
    return writer.moved(
        "MaxPool",
        parts[0],
        name,
        kernel_shape=list(a["kernel"]),
        strides=list(a["stride"]),
        pads=flat(a["padding"] if told else sides),
        dilations=list(a["dilation"]),
        ceil_mode=int(told),
    )


def flat(sides: Sequence[tuple[int, int]]) -> list[int]:
    """ONNX's pads: all that come before, then all behind."""
    return [before for before, _ in sides] + [after for _, after in sides]


MOVES: Mapping[str, Move] = {
    "clamp": _clamp,
    "concat": _concat,
    "max_pool": _max_pool,
    "nearest": _nearest,
    "pad": _pad,
    "reshape": _reshape,
    "slice": _slice,
    "transpose": _transpose,
    "upsample": _upsample,
}


def clamped(writer: GraphWriter, node: Node, name: str, x: Value) -> Value:
    """A tensor clamped as the node's own bounds say: codes to the codes inside of them."""
    if node.low is None and node.high is None:
        return x
    if isinstance(x, Codes):
        return writer.clip(x, name, *clamp_codes(node, x.grid))
    given = {"low": node.low, "high": node.high}
    bounds = ["" if value is None else writer.constant(f"{name}.{key}", value) for key, value in given.items()]
    return writer.node("Clip", [x, *(bounds if bounds[1] else bounds[:1])], name)

"""Convolutions and dense layers of Keras, with their geometry in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.runner import Sides
from mpq_plugins.graph.weights import from_framework
from mpq_plugins.graph.windows import same_padding
from mpq_tfmot.reader.call import Call, Sample, array_of, weight_of
from mpq_tfmot.reader.dilated import dilated_transposed

WEIGHTED = {
    "Conv1D": "conv1d",
    "Conv2D": "conv2d",
    "Conv3D": "conv3d",
    "DepthwiseConv1D": "depthwise_conv1d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "Conv1DTranspose": "conv_transpose1d",
    "Conv2DTranspose": "conv_transpose2d",
    "Conv3DTranspose": "conv_transpose3d",
    "Dense": "linear",
}
"""Layers with a kernel, by class: the op."""
Window = tuple[int, int, int, int]
"""Along one axis the size of the input, and the kernel's, its stride and its dilation."""


def weighted(call: Call) -> list[Node] | str:
    """The nodes of a layer of ``WEIGHTED``; why it has no integer form, where it has none."""
    layer, op = call.layer, WEIGHTED[call.kind]
    kernel = call.kernel
    if kernel is None:
        kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
    own = weight_of(kernel)
    bias = array_of(layer.bias) if layer.use_bias else None
    if op == "linear":
        return [_node(call, op, own, bias, {})]
    objection = _objection(layer)
    if not objection and op.startswith("conv_transpose") and set(layer.dilation_rate) != {1}:
        return dilated_transposed(call, op, own, bias, _geometry(layer, op, own.shape, call.in_shapes[0], call.shape))
    return objection or [_node(call, op, own, bias, _geometry(layer, op, own.shape, call.in_shapes[0], call.shape))]


def _node(
    call: Call, op: str, own: Any, bias: Any, attrs: dict[str, Any], name: str = "", shape: Sample | None = None
) -> Node:
    weight = from_framework(op, "NHWC", own, attrs.get("groups", 1))
    layer = None if call.owner == call.name else call.owner
    return Node(name or call.name, op, call.inputs, call.whole(shape), weight, bias, layer=layer, attrs=attrs)


def _geometry(layer: Any, op: str, kernel: Sample, in_shape: Sample, out_shape: Sample) -> dict[str, Any]:
    """stride, padding, dilation and groups in numbers. Strides of a depthwise kernel are equal in both directions."""
    sizes = kernel[: len(kernel) - 2]
    stride, dilation = tuple(layer.strides), tuple(layer.dilation_rate)
    groups = int(getattr(layer, "groups", 1))
    if op.startswith("depthwise"):
        stride, groups = (max(stride),) * len(sizes), kernel[-2]
    each = tuple(zip(in_shape[:-1], sizes, stride, dilation, strict=True))
    padding = sides_of(op, layer.padding, each, out_shape[:-1])
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def sides_of(op: str, padding: str, each: Sequence[Window], out: Sample) -> Sides:
    """Both sides of the padding of each axis, of a transposed convolution those that are cut off.

    padding: "same", "valid" or "causal". each: of every axis. out: sizes of the output.
    """
    if op.startswith("conv_transpose"):
        wholes = [(n - 1) * s + d * (k - 1) + 1 for n, k, s, d in each]
        return tuple(_cropping(whole, wanted, padding == "same") for whole, wanted in zip(wholes, out, strict=True))
    if padding == "causal":
        return tuple((d * (k - 1), 0) for _, k, _, d in each)
    return tuple(same_padding(*window) if padding == "same" else (0, 0) for window in each)


def _cropping(whole: int, wanted: int, same: bool) -> tuple[int, int]:
    before = max(whole - wanted, 0) // 2 if same else 0
    return before, whole - wanted - before


def _objection(layer: Any) -> str:
    """Why a convolution has no integer form here; "" for one that has."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return "channels_first convolutions do not run on LiteRT; build it channels_last"
    if layer.padding not in ("same", "valid", "causal"):
        return f"padding {layer.padding!r} is none of LiteRT's; pad with ZeroPadding and use 'valid'"
    return ""


def separable(call: Call) -> list[Node] | str:
    """A depthwise convolution and one of single positions, as the layer has both."""
    layer, flat = call.layer, "1d" if len(call.shape) == 2 else "2d"
    own = weight_of(layer.depthwise_kernel)
    objection = _objection(layer)
    if objection:
        return objection
    middle = (*call.shape[:-1], own.shape[-1] * own.shape[-2])
    op = f"depthwise_conv{flat}"
    attrs = _geometry(layer, op, own.shape, call.in_shapes[0], middle)
    depthwise = _node(call, op, own, None, attrs, f"{call.name}.depthwise", middle)
    ones = len(attrs["stride"])
    plain = {"stride": (1,) * ones, "padding": ((0, 0),) * ones, "dilation": (1,) * ones, "groups": 1}
    bias = array_of(layer.bias) if layer.use_bias else None
    weight = from_framework(f"conv{flat}", "NHWC", weight_of(layer.pointwise_kernel))
    name = f"{call.name}.pointwise"
    return [depthwise, Node(name, f"conv{flat}", (depthwise.name,), call.whole(), weight, bias, attrs=plain)]

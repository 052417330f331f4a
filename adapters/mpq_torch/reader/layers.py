"""Layers of torch, as modules and as functions, and batch norms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.folded_norms import norm_attrs
from mpq_plugins.graph.moving import Moving, Part
from mpq_plugins.graph.node import BATCH_NORM, Node
from mpq_plugins.graph.runner import Sides
from mpq_plugins.graph.weights import from_framework
from mpq_torch.reader.call import Call, Made, Rule, array_of, numbers, weight_of

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_GEOMETRY = ("stride", "padding", "dilation", "groups")
_TRANSPOSED_GEOMETRY = ("stride", "padding", "output_padding", "groups", "dilation")
_NEUTRAL = {"stride": 1, "padding": 0, "output_padding": 0, "groups": 1, "dilation": 1}


def weighted_module(call: Call) -> Made:
    """nn.Conv1d, nn.Conv2d, nn.Conv3d, their transposes, and nn.Linear."""
    layer: Any = call.module
    weight, bias = weight_of(layer.weight), None if layer.bias is None else array_of(layer.bias)
    geometry = {name: getattr(layer, name) for name in (*_NEUTRAL, "padding_mode") if hasattr(layer, name)}
    transposed = isinstance(layer, TRANSPOSED)
    return _layer(call, weight, bias, geometry, transposed, call.owner)


def weighted_function(transposed: bool, linear: bool = False) -> Rule:
    """F.conv1d, F.linear and the like, whose weight is a parameter of the model."""
    names = () if linear else _TRANSPOSED_GEOMETRY if transposed else _GEOMETRY

    def rule(call: Call) -> Made:
        try:
            weight, bias = call.parameter_tensor(1, "weight"), call.parameter(2, "bias")
        except KeyError:
            return call.unknown("a functional layer whose weight is computed has no integer kernel")
        geometry = {name: call.argument(3 + i, name, _NEUTRAL[name]) for i, name in enumerate(names)}
        assert weight is not None  # which no layer goes without
        return _layer(call, weight_of(weight), bias, geometry, transposed, None)

    return rule


def _layer(
    call: Call,
    own: NDArray[np.floating[Any]],
    bias: NDArray[np.float64] | None,
    geometry: Mapping[str, Any],
    transposed: bool,
    owner: str | None,
) -> Made:
    dims = own.ndim - 2
    if dims == 0:
        return call.made("linear", weight=own, bias=bias, layer=owner)
    groups = int(geometry.get("groups", 1))
    stride, dilation = numbers(geometry["stride"], dims), numbers(geometry["dilation"], dims)
    kernel = own.shape[2:]
    padding = geometry["padding"]
    if isinstance(padding, str):
        extra = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        sides = tuple((amount // 2, amount - amount // 2) for amount in extra)
    else:
        sides = tuple((amount, amount) for amount in numbers(padding, dims))
    if transposed:
        more = numbers(geometry["output_padding"], dims)
        sides = tuple((before, after - extra) for (before, after), extra in zip(sides, more, strict=True))
    border, inputs_read, sides = _border(call, sides, geometry.get("padding_mode", "zeros"), transposed)
    attrs = {"stride": stride, "padding": sides, "dilation": dilation, "groups": groups}
    inputs = own.shape[0] if transposed else own.shape[1] * groups
    op = f"conv_transpose{dims}d" if transposed else f"conv{dims}d"
    if not transposed and groups > 1 and groups == inputs and dims < 3:
        op = f"depthwise_{op}"
    weight = from_framework(op, "NCHW", own, groups)
    node = call.made(op, inputs_read, weight=weight, bias=bias, layer=owner, attrs=attrs)
    return [*border, node] if border else node


def _border(call: Call, sides: Sides, mode: str, transposed: bool) -> tuple[list[Node], tuple[str, ...], Sides]:
    """The border that no kernel makes: of the input's own elements, or of more zeros on one side.

    The nodes that make it, what the layer then reads, and the padding that is left to it.
    """
    even = all(before == after for before, after in sides)
    if transposed or (mode == "zeros" and even):
        return [], call.inputs, sides
    x = Part(call.inputs[0], call.in_shape)
    moving = Moving(f"{call.name}__border")
    if mode == "zeros":
        x = moving.pad(x, ((0, 0),) * (len(x.shape) - len(sides)) + sides)
    else:
        first = len(x.shape) - len(sides)
        x = moving.bordered(x, {first + index: pair for index, pair in enumerate(sides) if any(pair)}, mode)
    return moving.nodes, (x.name,), ((0, 0),) * len(sides)


def batch_norm_module(call: Call) -> Node:
    """nn.BatchNorm1d and nn.BatchNorm2d, by their running statistics."""
    norm: Any = call.module
    if norm.running_mean is None or norm.running_var is None:
        raise ModelError(f"batch norm {call.node.target} keeps no running statistics, so it cannot be folded")
    arrays = [None if t is None else array_of(t) for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    return _batch_norm(call, arrays, norm.eps, str(call.node.target))


def instance_norm_module(call: Call) -> Node:
    """An instance norm: outside of training one with running statistics is a batch norm."""
    norm: Any = call.module
    if norm.running_mean is None:
        return call.unknown(f"no integer kernel for {type(norm).__name__}")
    return batch_norm_module(call)


def instance_norm_function(call: Call) -> Node:
    """F.instance_norm: by running statistics a batch norm."""
    if call.argument(5, "use_input_stats", True):
        return call.unknown("no integer kernel for instance_norm")
    return _by_statistics(call)


def batch_norm_function(call: Call) -> Node:
    """F.batch_norm outside of training, with parameters and buffers of the model."""
    if call.argument(5, "training", False):
        return call.unknown("a batch norm that takes the statistics of its batch has no integer kernel")
    return _by_statistics(call)


def _by_statistics(call: Call) -> Node:
    try:
        positions = ((3, "weight"), (4, "bias"), (1, "running_mean"), (2, "running_var"))
        arrays = [call.parameter(*position) for position in positions]
    except KeyError:
        return call.unknown("a batch norm whose statistics are computed has no integer kernel")
    if arrays[2] is None or arrays[3] is None:
        raise ModelError(f"batch norm {call.name} has no running statistics, so it cannot be folded")
    return _batch_norm(call, arrays, call.argument(7, "eps", 1e-5), call.name)


def _batch_norm(call: Call, arrays: Sequence[Any], epsilon: float, owner: str) -> Node:
    gamma, beta, mean, variance = arrays
    attrs = norm_attrs(mean, variance, gamma, beta, epsilon, axis=1)
    return call.made(BATCH_NORM, attrs=attrs, layer=None if owner == call.name else owner)


MODULES: dict[Any, Rule] = {
    (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED, nn.Linear): weighted_module,
    BATCH_NORMS: batch_norm_module,
    (nn.InstanceNorm1d, nn.InstanceNorm2d): instance_norm_module,
}
FUNCTIONS: dict[Any, Rule] = {
    **dict.fromkeys([F.conv1d, F.conv2d, F.conv3d], weighted_function(False)),
    **dict.fromkeys([F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d], weighted_function(True)),
    F.linear: weighted_function(False, linear=True),
    F.batch_norm: batch_norm_function,
    F.instance_norm: instance_norm_function,
}

"""The torch module that computes a node, and the path at which a written model has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.node import INPUT, Batch, Node
from mpq_plugins.graph.ops import all_ops, op_of
from mpq_plugins.graph.ops.affine import factors
from mpq_plugins.graph.ops.slice import slices
from mpq_plugins.graph.weights import as_framework
from mpq_plugins.registry import once_known
from mpq_torch.modules.written import (
    SAME_GRID_SUFFIX,
    Affine,
    AlongAxes,
    Average,
    Concat,
    Input,
    Interpolate,
    Mean,
    OfOne,
    OfRecord,
    OfTwo,
    Pad,
    SameGrid,
)
from mpq_torch.reader.elementwise import ARGUMENTS
from mpq_torch.reader.spelled import of_package
from mpq_torch.runner.slicing import Slice

_LAYERS: dict[str, type[nn.Module]] = {
    "conv1d": nn.Conv1d,
    "conv2d": nn.Conv2d,
    "conv3d": nn.Conv3d,
    "depthwise_conv1d": nn.Conv1d,
    "depthwise_conv2d": nn.Conv2d,
    "conv_transpose1d": nn.ConvTranspose1d,
    "conv_transpose2d": nn.ConvTranspose2d,
    "conv_transpose3d": nn.ConvTranspose3d,
}


@once_known
def _functions() -> dict[str, type[nn.Module]]:
    """torch's modules of functions of one element, by word."""
    return {
        word: kind
        for word, op in all_ops().items()
        for name in op.spellings.get("torch", ())
        if op.table and name.startswith("nn.") and (kind := getattr(nn, name.removeprefix("nn."), None)) is not None
    }


def layer_of(node: Node) -> nn.Module:
    """The layer of a node with a weight, in eval mode, holding its weight and bias in float32."""
    weight = torch.from_numpy(np.array(as_framework(node, "NCHW"), np.float32, order="C"))  # of the layer's own
    has_bias = node.bias is not None
    with torch.device("meta"):  # no weight is drawn at random, only to be written over
        if node.op == "linear":
            layer: Any = nn.Linear(weight.shape[1], weight.shape[0], has_bias)
        else:
            layer = _convolution(node, weight, has_bias)
    layer.weight = nn.Parameter(weight)
    if has_bias:
        layer.bias = nn.Parameter(torch.from_numpy(np.array(node.bias, np.float32)))
    held: nn.Module = layer.eval()
    return held


def _convolution(node: Node, weight: torch.Tensor, has_bias: bool) -> nn.Module:
    a, groups = node.attrs, int(node.attrs["groups"])
    options = {"stride": a["stride"], "dilation": a["dilation"], "groups": groups, "bias": has_bias}
    before = tuple(sides[0] for sides in a["padding"])
    kind, kernel = _LAYERS[node.op], tuple(weight.shape[2:])
    if node.op.startswith("conv_transpose"):
        extra = tuple(first - last for first, last in a["padding"])
        outputs = weight.shape[1] * groups
        return kind(weight.shape[0], outputs, kernel, padding=before, output_padding=extra, **options)
    assert all(first == last for first, last in a["padding"]), f"{node.name}: torch pads both sides alike"
    return kind(weight.shape[1] * groups, weight.shape[0], kernel, padding=before, **options)


def module_of(node: Node) -> tuple[Any, ...]:
    """The path and the module of a node without a weight, and the arguments that its call has behind the tensors."""
    a, name = node.attrs, node.name
    if node.op == INPUT:
        return name, Input().eval()
    if op_of(node).arity == 2:
        return name, OfTwo(_in_torch(node.op))
    if node.op in ("normalize", "softmax"):
        return name, AlongAxes(node.op, node.attrs)
    if node.op == "concat":
        return name, Concat(a["axis"])
    if node.op == AFFINE:
        return name, Affine(*(v if isinstance(v, float) else torch.from_numpy(v).float() for v in factors(node)))
    if node.op in _functions():
        return name, _functions()[node.op](**_options(node))
    if op_of(node).table:
        in_torch = any(
            name.startswith("torch.") and not of_package(name) for name in op_of(node).spellings.get("torch", ())
        )
        told = {attr: node.attrs[attr] for attr in op_of(node).attrs if attr in node.attrs}
        return name, OfOne(_in_torch(node.op), **_options(node)) if in_torch else OfRecord(node.op, told)
    return name + SAME_GRID_SUFFIX, *_same_grid(node)


def _options(node: Node) -> dict[str, Any]:
    """What a module of torch is told of the function that it is to be."""
    options = {name: node.attrs[attr] for attr, _, name, _ in ARGUMENTS.get(node.op, ()) if attr in node.attrs}
    if "approximate" in options:
        options["approximate"] = "tanh" if options["approximate"] else "none"
    return options


def _in_torch(word: str) -> str:
    """The name of an op in torch."""
    return next(name.removeprefix("torch.") for name in all_ops()[word].spellings["torch"] if name.startswith("torch."))


def _same_grid(node: Node) -> tuple[Any, ...]:
    """Ops that stay on their input's grid, in the spelling that torch.ao knows."""
    a = node.attrs
    if node.op == "max_pool":
        kind = (nn.MaxPool1d, nn.MaxPool2d)[len(a["kernel"]) - 1]
        return (kind(a["kernel"], a["stride"], _even(node), a["dilation"], ceil_mode=any(a["overhang"])),)
    if node.op == "avg_pool":
        return Average(len(a["kernel"])), a["kernel"], a["stride"], _even(node), any(a["overhang"])
    if node.op == "global_avg_pool":
        # axes counted from the front would take QNNPACK to another kernel, which rounds some ties differently
        axes = [axis - (len(node.shape) + (0 if a["keepdims"] else len(a["axes"]))) for axis in a["axes"]]
        return Mean(), axes, a["keepdims"]
    if node.op == "reshape":
        sizes = tuple(-1 if isinstance(size, Batch) else size for size in node.shape)
        return SameGrid("Tensor.reshape", "reshape"), *sizes
    if node.op == "transpose":
        return SameGrid("Tensor.permute", "reshape"), *a["order"]
    if node.op == "upsample":
        single = tuple(node.shape[2:]) == tuple(a["times"][2:])
        return Interpolate(single), None, tuple(float(n) for n in a["times"][2:])
    if node.op == "nearest":
        size = None if a["scale"] else tuple(len(wanted) for wanted in a["sources"][2:])
        return Interpolate(), size, a["scale"]
    if node.op == "pad":
        pads = [side for sides in reversed(a["pads"]) for side in sides]
        while len(pads) > 2 and pads[-2:] == [0, 0]:
            pads = pads[:-2]
        return (Pad(tuple(pads)),)
    assert node.op == "slice", node.op
    return (Slice(slices(a), tuple(-1 if isinstance(size, Batch) else size for size in node.shape)),)


def _even(node: Node) -> tuple[int, ...]:
    sides = node.attrs["padding"]
    assert all(before == after for before, after in sides), f"{node.name}: torch pads both sides alike"
    return tuple(before for before, _ in sides)

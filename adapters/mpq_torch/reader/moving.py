"""Ops that move elements: concat, reshape, permute, pad, slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.graph.moving import Moving, Part
from mpq_plugins.graph.node import Batch, Node
from mpq_plugins.graph.off_grids import APART, PADDED
from mpq_plugins.graph.runner import Sides
from mpq_torch.modules.written import Concat, Pad
from mpq_torch.reader.call import Call, Made, Rule, whole
from mpq_torch.runner.slicing import Slice


def concat(call: Call) -> Node:
    """torch.cat."""
    tensors = call.argument(0, "tensors")
    if not isinstance(tensors, (list, tuple)):
        return call.unknown("concat needs a list of tensors")
    return _concat(call, tuple(tensors), int(call.argument(1, "dim", 0)))


def columns(call: Call) -> Node:
    """torch.hstack and column_stack of tensors of at least two axes."""
    tensors = call.argument(0, "tensors")
    if not isinstance(tensors, (list, tuple)) or len(call.shape) < 2:
        return call.unknown("columns are joined of a list of tensors of at least two axes")
    return _concat(call, tuple(tensors), 1)


def concat_module(call: Call) -> Node:
    """The concat of a model that was constrained."""
    module: Any = call.module
    return _concat(call, call.node.args, int(module.dim))


def _concat(call: Call, tensors: tuple[Any, ...], dim: int) -> Node:
    axis = dim % len(call.shape)
    if isinstance(call.shape[axis], Batch):
        return call.unknown("concat along the samples of a batch has no integer kernel")
    return call.made("concat", tuple(call.names[t] for t in tensors), attrs={"axis": axis})


def reshape(call: Call) -> Node:
    """flatten, view, reshape, squeeze and unsqueeze."""
    if sum(isinstance(size, Batch) for size in call.shape) != 1:
        return call.unknown("a reshape that loses the batch among the axes has no integer kernel")
    return call.made("reshape")


def permute(call: Call) -> Node:
    """torch.permute and Tensor.permute."""
    rank = len(call.in_shape)
    dims = call.numbers(1, "dims")
    return _reordered(call, [int(d) % rank for d in dims])


def transpose(call: Call) -> Node:
    """Two axes exchanged."""
    rank = len(call.in_shape)
    a, b = (int(call.argument(1 + i, f"dim{i}")) % rank for i in (0, 1))
    order = list(range(rank))
    order[a], order[b] = b, a
    return _reordered(call, order)


def _reordered(call: Call, order: Sequence[int]) -> Node:
    """The axes in another order; a reshape where only axes of one element go elsewhere."""
    long = [axis for axis in order if call.in_shape[axis] != 1]
    return call.made("reshape") if long == sorted(long) else call.made("transpose", attrs={"order": tuple(order)})


def moved_axes(call: Call) -> Node:
    """torch.movedim: some axes to other places, the rest in their order."""
    rank = len(call.in_shape)
    source, target = (
        [int(axis) % rank for axis in (found if isinstance(found, (list, tuple)) else (found,))]
        for found in (call.argument(1, "source"), call.argument(2, "destination"))
    )
    order = [axis for axis in range(rank) if axis not in source]
    for place, axis in sorted(zip(target, source, strict=True)):
        order.insert(place, axis)
    return _reordered(call, order)


def pad(call: Call) -> Made:
    """F.pad, nn.ZeroPad2d, nn.ReflectionPad2d and the like: zeros, or the tensor's own elements."""
    if call.module is not None:
        named = type(call.module).__name__.partition("Pad")[0]
        mode, value = _MODES.get(named, "constant"), getattr(call.module, "value", 0.0)
        pads = tuple(call.setting("padding"))
    else:
        pads = tuple(call.argument(1, "pad"))
        mode, value = call.argument(2, "mode", "constant"), call.argument(3, "value")
    if not all(isinstance(amount, int) for amount in pads):
        return call.unknown("padding by amounts that are computed has no integer kernel")
    if mode != "constant":
        return bordered(call, mode, pads)
    value = 0.0 if value is None else value
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        infinite = isinstance(value, float) and math.isinf(value)
        return call.unknown(PADDED if infinite else "padding by anything but a number has no integer kernel")
    sides = _sides(call, pads)
    if any(sides[0]):
        return call.unknown("padding along the samples of a batch has no integer kernel")
    if value == 0 and all(amount >= 0 for amount in pads):
        return call.made("pad", attrs={"pads": sides})
    if abs(value) >= APART:
        return call.unknown(PADDED)
    moving, x = begun(call)
    x = moving.slice(
        x,
        {
            axis: range(max(0, -before), whole(x.shape[axis]) - max(0, -after))
            for axis, (before, after) in enumerate(sides)
            if min(before, after) < 0
        },
    )
    more = tuple((max(0, before), max(0, after)) for before, after in sides)
    if any(map(any, more)):
        x = moving.framed(x, more, float(value)) if value else moving.pad(x, more)
    return moving.done(x)


def bordered(call: Call, mode: str, pads: tuple[int, ...]) -> Made:
    """A border of the tensor's own elements; pads: as torch.nn.functional.pad takes them, from the last axis back."""
    moving, x = begun(call)
    sides = {axis: pair for axis, pair in enumerate(_sides(call, pads)) if any(pair)}
    return moving.done(moving.bordered(x, sides, mode))


def begun(call: Call) -> tuple[Moving, Part]:
    """The nodes of a call, and the tensor that they begin with."""
    return Moving(call.name), Part(call.inputs[0], call.in_shape)


_MODES = {"Reflection": "reflect", "Replication": "replicate", "Circular": "circular"}


def pad_module(call: Call) -> Node:
    """The padding of a model that was constrained."""
    module: Any = call.module
    return call.made("pad", attrs={"pads": _sides(call, module.pads)})


def _sides(call: Call, pads: tuple[int, ...]) -> Sides:
    """pads: as torch.nn.functional.pad takes them, from the last axis back."""
    sides = [(0, 0)] * len(call.in_shape)
    for index in range(len(pads) // 2):
        sides[-1 - index] = (pads[2 * index], pads[2 * index + 1])
    return tuple(sides)


def slice_module(call: Call) -> Node:
    """The slices of a model that was constrained."""
    module: Any = call.module
    found = {name: tuple(getattr(each, name[:-1]) for each in module.slices) for name in ("starts", "stops", "steps")}
    return call.made("slice", attrs=found)


MODULES: dict[Any, Rule] = {
    (nn.Flatten, nn.Unflatten): reshape,
    (nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d): pad,
    (nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad1d, nn.ReplicationPad2d): pad,
    (nn.CircularPad1d, nn.CircularPad2d): pad,
    Concat: concat_module,
    Pad: pad_module,
    Slice: slice_module,
}
FUNCTIONS: dict[Any, Rule] = {
    **dict.fromkeys([torch.cat, torch.concat, torch.concatenate], concat),
    **dict.fromkeys([torch.hstack, torch.column_stack], columns),
    **dict.fromkeys(
        [
            torch.flatten,
            torch.reshape,
            torch.squeeze,
            torch.unsqueeze,
            "flatten",
            "reshape",
            "view",
            "squeeze",
            "unsqueeze",
            torch.unflatten,
            "unflatten",
            "view_as",
            "reshape_as",
        ],
        reshape,
    ),
    **dict.fromkeys([torch.permute, "permute"], permute),
    **dict.fromkeys([torch.transpose, torch.swapaxes, torch.swapdims, "transpose", "swapaxes", "swapdims"], transpose),
    **dict.fromkeys([torch.movedim, torch.moveaxis, "movedim", "moveaxis"], moved_axes),
    F.pad: pad,
}

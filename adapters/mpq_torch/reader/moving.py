"""Ops that move elements: concat, reshape, permute, pad, slices, nearest upsampling."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.graph.node import Batch, Node, Shape
from mpq_torch.reader.call import Call, Rule, whole
from mpq_torch.reader.pooling import constrained_mean
from mpq_torch.written_modules import Concat, Pad, SameGrid, Subsample


def concat(call: Call) -> Node:
    """torch.cat."""
    tensors = call.argument(0, "tensors")
    if not isinstance(tensors, (list, tuple)):
        return call.unknown("concat needs a list of tensors")
    return _concat(call, tuple(tensors), int(call.argument(1, "dim", 0)))


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
    first = call.argument(1, "dims")
    dims = tuple(first) if isinstance(first, (list, tuple)) else tuple(call.node.args[1:])
    return call.made("transpose", attrs={"order": tuple(int(d) % rank for d in dims)})


def transpose(call: Call) -> Node:
    """Two axes exchanged."""
    rank = len(call.in_shape)
    a, b = (int(call.argument(1 + i, f"dim{i}")) % rank for i in (0, 1))
    order = list(range(rank))
    order[a], order[b] = b, a
    return call.made("transpose", attrs={"order": tuple(order)})


def interpolate(call: Call) -> Node:
    """F.interpolate and nn.Upsample, nearest, to any size."""
    mode = call.module.mode if call.module is not None else call.argument(3, "mode", "nearest")
    if mode != "nearest":
        return call.unknown(f"interpolation mode {mode!r} has no exact integer kernel (nearest has)")
    if len(call.shape) == 3:
        return call.unknown(
            "nearest interpolation of a signal of one dimension has no integer kernel (of images it has); add an axis "
            "of height one before it"
        )
    pairs = [(whole(out), whole(n)) for out, n in zip(call.shape[2:], call.in_shape[2:], strict=True)]
    sources = [_sources(call, axis) for axis in range(len(pairs))]
    repeated = [tuple(index // max(out // n, 1) for index in range(out)) for out, n in pairs]
    if sources == repeated:
        return call.made("upsample", attrs={"times": (1, 1, *(out // n for out, n in pairs))})
    attrs = {"sources": (None, None, *sources), "scale": _scale(call, len(pairs))}
    return call.made("nearest", attrs=attrs)


def _scale(call: Call, dims: int) -> tuple[float, ...] | None:
    """The factors that torch counts by; None where it counts by the sizes."""
    names = ("size", "scale_factor", "recompute_scale_factor")
    size, scale, again = (
        call.argument({"size": 1, "scale_factor": 2, "recompute_scale_factor": 5}[name], name)
        if call.module is None
        else getattr(call.module, name)
        for name in names
    )
    if size is not None or again or scale is None:
        return None
    return tuple(map(float, scale)) if isinstance(scale, (list, tuple)) else (float(scale),) * dims


def _sources(call: Call, axis: int) -> tuple[int, ...]:
    """The index from which nearest interpolation takes each element of a spatial axis: as torch itself counts."""
    inside = [whole(size) for size in call.in_shape[2:]]
    ramp = torch.arange(inside[axis], dtype=torch.float32)
    image = ramp.reshape([-1 if other == axis else 1 for other in range(len(inside))]).expand(*inside)[None, None]
    if call.module is not None:
        moved = call.module(image.contiguous())
    else:
        names = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
        given = {name: call.argument(1 + index, name) for index, name in enumerate(names)}
        moved = F.interpolate(image.contiguous(), **{k: v for k, v in given.items() if v is not None})
    return tuple(int(value) for value in moved[0, 0].movedim(axis, 0).flatten(1)[:, 0])


def pad(call: Call) -> Node:
    """F.pad, nn.ZeroPad2d and the like, with zeros."""
    if call.module is not None:
        pads, mode, value = tuple(call.module.padding), "constant", getattr(call.module, "value", 0.0)
    else:
        pads = tuple(call.argument(1, "pad"))
        mode, value = call.argument(2, "mode", "constant"), call.argument(3, "value")
    if mode != "constant" or value not in (None, 0, 0.0):
        return call.unknown("padding by anything but zeros has no integer kernel")
    if not all(isinstance(amount, int) and amount >= 0 for amount in pads):
        return call.unknown("padding must be by constant amounts of zero or more")
    return _pad(call, pads)


def pad_module(call: Call) -> Node:
    """The padding of a model that was constrained."""
    module: Any = call.module
    return _pad(call, module.pads)


def _pad(call: Call, pads: tuple[int, ...]) -> Node:
    """pads: as torch.nn.functional.pad takes them, from the last axis back."""
    sides = [(0, 0)] * len(call.in_shape)
    for index in range(len(pads) // 2):
        sides[-1 - index] = (pads[2 * index], pads[2 * index + 1])
    if isinstance(call.in_shape[0], Batch) and any(sides[0]):
        return call.unknown("padding along the samples of a batch has no integer kernel")
    return call.made("pad", attrs={"pads": tuple(sides)})


def index(call: Call) -> Node:
    """Every 2nd, 4th or 8th row and column, and what keeps all elements; other slices have no kernel."""
    source, wanted = call.node.args
    if not isinstance(source, fx.Node) or source not in call.observed.shapes:
        return call.unknown("taking one of several results has no integer kernel")
    items = wanted if isinstance(wanted, tuple) else (wanted,)
    if _keeps_all(items, call.in_shape):
        return reshape(call)
    steps = [item.step or 1 if isinstance(item, slice) else 0 for item in items]
    plain = [isinstance(item, slice) and item.start in (None, 0) and item.stop is None for item in items]
    spatial = len(items) == 4 and all(plain) and steps[:2] == [1, 1]
    if spatial and all(step in (1, 2, 4, 8) for step in steps[2:]):
        return call.made("subsample", attrs={"steps": (1, 1, *steps[2:])})
    return call.unknown("this indexing has no integer kernel (every 2nd, 4th or 8th row and column has)")


def _keeps_all(items: tuple[Any, ...], shape: Shape) -> bool:
    """Whether an index takes every element in order: all of an axis, the one of an axis of one, or a new axis."""
    left = len(shape) - sum(item is not None and item is not Ellipsis for item in items)
    axes = iter(shape)
    for item in items:
        if item is Ellipsis:
            for _ in range(left):
                next(axes)
        elif item is not None:
            size = next(axes, 0)
            if not (item == slice(None) or (item in (0, -1) and size == 1)):
                return False
    return True


def subsample_module(call: Call) -> Node:
    """The slices of a model that was constrained."""
    module: Any = call.module
    return call.made("subsample", attrs={"steps": (1, 1, *module.strides)})


def same_grid(call: Call) -> Node | fx.Node:
    """An op of a model that was constrained, by the function that it holds."""
    module: Any = call.module
    if module.op == "global_avg_pool":
        axes, keepdims = call.node.args[1:]
        rank = len(call.in_shape)
        attrs = {"axes": tuple(sorted(int(axis) % rank for axis in axes)), "keepdims": bool(keepdims)}
        return call.made("global_avg_pool", attrs=attrs)
    rooms = {"functional": F, "torch": torch}
    room, name = module.function.split(".")
    target = name if room == "Tensor" else getattr(rooms[room], name)
    from mpq_torch.reader.rules import FUNCTIONS as EVERY  # the table that this rule is part of

    rule = constrained_mean if target is torch.mean else EVERY[target]
    return rule(Call(call.node, call.name, None, call.names, call.observed, call.attribute))


MODULES: dict[Any, Rule] = {
    (nn.Flatten, nn.Unflatten): reshape,
    nn.Upsample: interpolate,
    (nn.ZeroPad1d, nn.ZeroPad2d, nn.ConstantPad1d, nn.ConstantPad2d): pad,
    Concat: concat_module,
    Pad: pad_module,
    Subsample: subsample_module,
    SameGrid: same_grid,
}
FUNCTIONS: dict[Any, Rule] = {
    **dict.fromkeys([torch.cat, torch.concat, torch.concatenate], concat),
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
    **dict.fromkeys([torch.transpose, "transpose"], transpose),
    F.interpolate: interpolate,
    F.pad: pad,
    operator.getitem: index,
}

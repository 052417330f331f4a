"""Pooling."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.graph.arithmetic import window_keeps_ties
from mpq_plugins.graph.moving import Part, size_of
from mpq_plugins.graph.node import Batch, Node
from mpq_plugins.graph.pooling import Pooling, Window, adaptive, clipped
from mpq_plugins.graph.reducing import Reducing
from mpq_plugins.graph.volumes import Volumes, windows_of
from mpq_torch.reader.call import Call, Made, Rule, numbers, whole

_MAX_OPTIONS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVERAGE_OPTIONS = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")


def _options(call: Call, names: tuple[str, ...]) -> dict[str, Any]:
    if call.module is not None:
        return {name: getattr(call.module, name, None) for name in names}
    return {name: call.argument(1 + index, name) for index, name in enumerate(names)}


def _windows(call: Call, options: dict[str, Any], dims: int) -> dict[str, Any]:
    """kernel, stride, padding, and what the last window needs beyond it where sizes are rounded up."""
    kernel = numbers(options["kernel_size"], dims)
    stride = numbers(options["stride"], dims) if options.get("stride") not in (None, [], ()) else kernel
    padding = numbers(options.get("padding") or 0, dims)
    dilation = numbers(options.get("dilation") or 1, dims)
    inside, outside = call.in_shape[-dims:], call.shape[-dims:]
    overhang = tuple(
        max(0, (whole(out) - 1) * s + d * (k - 1) + 1 - whole(size) - 2 * p)
        for out, s, d, k, size, p in zip(outside, stride, dilation, kernel, inside, padding, strict=True)
    )
    sides = tuple((amount, amount) for amount in padding)
    return {"kernel": kernel, "stride": stride, "padding": sides, "overhang": overhang, "dilation": dilation}


def max_pool(dims: int) -> Rule:
    """nn.MaxPool1d, F.max_pool2d and the like."""

    def rule(call: Call) -> Node:
        if (call.module is not None and call.module.return_indices) or call.node.kwargs.get("return_indices"):
            return call.unknown("max pooling with indices has no integer kernel")
        return call.made("max_pool", attrs=_windows(call, _options(call, _MAX_OPTIONS), dims))

    return rule


def average_pool(dims: int) -> Rule:
    """nn.AvgPool1d, F.avg_pool2d and the like, in the form that all engines compute alike."""

    def rule(call: Call) -> Made:
        options = _options(call, _AVERAGE_OPTIONS)
        counts, divisor = options.get("count_include_pad"), options.get("divisor_override")
        if divisor is None and (counts is not False or not any(numbers(options.get("padding") or 0, dims))):
            return _average(call, options, dims)
        if not isinstance(call.in_shape[0], Batch):
            return call.unknown("average pooling of samples without a batch has no exact integer kernel")
        return _of_windows(call, _windows(call, options, dims), counts is not False, divisor)

    return rule


def _of_windows(call: Call, attrs: Mapping[str, Any], counts: bool, divisor: Any = None) -> Made:
    """An average whose windows see no padding, or that begins with zeros of its own."""
    made, x = Pooling(call.name, "NCHW"), Part(call.inputs[0], call.in_shape)
    padding, first = attrs["padding"], len(call.in_shape) - len(attrs["kernel"])
    counts = counts or divisor is not None
    if counts and any(any(sides) for sides in padding):
        x = made.pad(x, (*((0, 0),) * first, *padding))
        padding = ((0, 0),) * len(padding)
    along = {
        first + index: clipped(size_of(x, first + index), kernel, stride, sides[0], whole(call.shape[first + index]))
        for index, (kernel, stride, sides) in enumerate(zip(attrs["kernel"], attrs["stride"], padding, strict=True))
    }
    if divisor is None:
        return made.done(made.averages(x, along, window_keeps_ties))
    if any(attrs["overhang"]):
        return call.unknown("average pooling in ceil mode with a divisor of its own has no exact integer kernel")
    x = made.averages(x, along, window_keeps_ties)
    return made.done(made.scaled(x, math.prod(attrs["kernel"]) / float(divisor)))


def _divides(call: Call, attrs: Mapping[str, Any]) -> bool:
    """Whether the windows lie side by side and fill the input."""
    inside = call.in_shape[-len(attrs["kernel"]) :]
    alone = isinstance(call.in_shape[0], Batch) and attrs["kernel"] == attrs["stride"]
    around = any(any(sides) for sides in attrs["padding"]) or any(attrs["overhang"])
    return alone and not around and not any(whole(n) % k for n, k in zip(inside, attrs["kernel"], strict=True))


def _average(call: Call, options: dict[str, Any], dims: int) -> Made:
    attrs = _windows(call, options, dims)
    if not window_keeps_ties(attrs["kernel"], bool(options.get("ceil_mode"))):
        if _divides(call, attrs):
            made = Reducing(call.name, "NCHW")
            return made.done(made.averaged(Part(call.inputs[0], call.in_shape), attrs["kernel"]))
        if not isinstance(call.in_shape[0], Batch):
            return call.unknown(f"average pooling over a window of {options['kernel_size']} rounds ties in no one way")
        return _of_windows(call, attrs, True)
    del attrs["dilation"]
    return call.made("avg_pool", attrs={**attrs, "counts_padding": True})


def adaptive_pool(dims: int) -> Rule:
    """Adaptive average pooling to one element, or to windows of one size."""

    def rule(call: Call) -> Made:
        sizes = {axis: (whole(call.in_shape[axis]), whole(call.shape[axis])) for axis in _last(call, dims)}
        if all(out == 1 for _, out in sizes.values()):
            return call.made("global_avg_pool", attrs={"axes": tuple(sizes), "keepdims": True})
        if all(size == out for size, out in sizes.values()):
            return call.tensor()
        if any(size % out for size, out in sizes.values()):
            made, x, along = _adaptive(call, dims)
            return made.done(made.averages(x, along, window_keeps_ties))
        return _average(call, {"kernel_size": tuple(size // out for size, out in sizes.values())}, dims)

    return rule


def _last(call: Call, dims: int) -> range:
    """The axes of rows and columns."""
    return range(len(call.in_shape) - dims, len(call.in_shape))


def _adaptive(call: Call, dims: int) -> tuple[Pooling, Part, dict[int, list[Window]]]:
    """The nodes of a call, the tensor that they begin with, and the windows of each axis, of several sizes."""
    along = {axis: adaptive(whole(call.in_shape[axis]), whole(call.shape[axis])) for axis in _last(call, dims)}
    return Pooling(call.name, "NCHW"), Part(call.inputs[0], call.in_shape), along


def adaptive_max_pool(dims: int) -> Rule:
    """Adaptive max pooling to windows of one size."""

    def rule(call: Call) -> Made:
        if (call.module is not None and call.module.return_indices) or call.argument(2, "return_indices"):
            return call.unknown("max pooling with indices has no integer kernel")
        sizes = [(whole(call.in_shape[axis]), whole(call.shape[axis])) for axis in _last(call, dims)]
        if all(size == out for size, out in sizes):
            return call.tensor()
        if any(size % out for size, out in sizes):
            made, x, along = _adaptive(call, dims)
            return made.done(made.largest_of(x, along))
        window = tuple(size // out for size, out in sizes)
        return call.made("max_pool", attrs=_windows(call, {"kernel_size": window}, dims))

    return rule


def of_volumes(largest: bool) -> Rule:
    """nn.MaxPool3d, F.avg_pool3d and the like."""

    def rule(call: Call) -> Made:
        options = _options(call, _MAX_OPTIONS if largest else _AVERAGE_OPTIONS)
        if not isinstance(call.in_shape[0], Batch) or len(call.in_shape) != 5 or options.get("divisor_override"):
            return call.unknown("pooling of volumes without samples, or with a divisor, has no integer kernel")
        if largest and (call.setting("return_indices") if call.module is not None else call.argument(6, "indices")):
            return call.unknown("max pooling with indices has no integer kernel")
        attrs, out = _windows(call, options, 3), [whole(n) for n in call.shape[-3:]]
        made, x = Volumes(call.name, "NCHW"), Part(call.inputs[0], call.in_shape)
        if largest:
            return made.done(made.largest_of_windows(x, attrs, out))
        sides = attrs["padding"]
        if any(map(any, sides)) and options.get("count_include_pad") is not False:
            x, sides = made.pad(x, ((0, 0), (0, 0), *sides)), ((0, 0),) * 3
        inside = [size_of(x, axis) for axis in (2, 3, 4)]
        windows = windows_of(inside, attrs["kernel"], attrs["stride"], [before for before, _ in sides], out)
        return made.done(made.averages_of_windows(x, windows, window_keeps_ties))

    return rule


def adaptive_of_volumes(call: Call) -> Made:
    """Adaptive average pooling of volumes."""
    if not isinstance(call.in_shape[0], Batch) or len(call.in_shape) != 5:
        return call.unknown("pooling of volumes without samples has no integer kernel")
    sizes = [(whole(size), whole(out)) for size, out in zip(call.in_shape[2:], call.shape[2:], strict=True)]
    if {out for _, out in sizes} == {1}:
        return call.made("global_avg_pool", attrs={"axes": (2, 3, 4), "keepdims": True})
    made = Volumes(call.name, "NCHW")
    x = Part(call.inputs[0], call.in_shape)
    return made.done(made.averages_of_windows(x, [adaptive(*each) for each in sizes], window_keeps_ties))


MODULES: dict[Any, Rule] = {
    nn.MaxPool3d: of_volumes(True),
    nn.AvgPool3d: of_volumes(False),
    nn.AdaptiveAvgPool3d: adaptive_of_volumes,
    nn.MaxPool1d: max_pool(1),
    nn.MaxPool2d: max_pool(2),
    nn.AvgPool1d: average_pool(1),
    nn.AvgPool2d: average_pool(2),
    nn.AdaptiveMaxPool1d: adaptive_max_pool(1),
    nn.AdaptiveMaxPool2d: adaptive_max_pool(2),
    nn.AdaptiveAvgPool1d: adaptive_pool(1),
    nn.AdaptiveAvgPool2d: adaptive_pool(2),
}
FUNCTIONS: dict[Any, Rule] = {
    **dict.fromkeys([F.max_pool3d, torch.max_pool3d], of_volumes(True)),
    F.avg_pool3d: of_volumes(False),
    F.adaptive_avg_pool3d: adaptive_of_volumes,
    **dict.fromkeys([F.max_pool1d, torch.max_pool1d], max_pool(1)),
    **dict.fromkeys([F.max_pool2d, torch.max_pool2d], max_pool(2)),
    **dict.fromkeys([F.avg_pool1d, torch.avg_pool1d], average_pool(1)),
    F.avg_pool2d: average_pool(2),
    **dict.fromkeys([F.adaptive_avg_pool1d, torch.adaptive_avg_pool1d], adaptive_pool(1)),
    F.adaptive_avg_pool2d: adaptive_pool(2),
    F.adaptive_max_pool1d: adaptive_max_pool(1),
    F.adaptive_max_pool2d: adaptive_max_pool(2),
}

"""ONNX nodes for what only moves elements, or takes the largest: the same on codes and on float values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mpq_plugins.errors import ModelError, UnsupportedOp
from mpq_plugins.exporters.onnx.writer import GraphWriter, Value
from mpq_torch.onnx.shapes import Shape

INT64_MAX = 2**63 - 1


def reshaped(writer: GraphWriter, x: Value, name: str, shape: Shape) -> Value:
    """The tensor in another shape; the dimension that grows with the batch is left open."""
    if not shape:
        raise ModelError(f"{name}: a tensor without dimensions has no batch")
    sizes = writer.constant(f"{name}.shape", [-1 if size is None else size for size in shape], "int64")
    return writer.moved("Reshape", x, name, [sizes])


def transposed(writer: GraphWriter, x: Value, name: str, order: Sequence[int], rank: int) -> Value:
    """Axes in another order."""
    return writer.moved("Transpose", x, name, perm=[axis % rank for axis in order])


def padded(writer: GraphWriter, x: Value, name: str, pads: Sequence[int], rank: int) -> Value:
    """Zero padding; pads in torch's order, from the last dimension on."""
    before, after = [0] * rank, [0] * rank
    for index in range(len(pads) // 2):
        before[-1 - index], after[-1 - index] = pads[2 * index], pads[2 * index + 1]
    amounts = writer.constant(f"{name}.pads", [*before, *after], "int64")
    return writer.moved("Pad", x, name, [amounts, writer.zero(x)])


def subsampled(writer: GraphWriter, x: Value, name: str, strides: Sequence[int]) -> Value:
    """Every stride-th row and column."""
    parts = {"starts": [0, 0], "ends": [INT64_MAX] * 2, "axes": [2, 3], "steps": list(strides)}
    inputs = [writer.constant(f"{name}.{key}", value, "int64") for key, value in parts.items()]
    return writer.moved("Slice", x, name, inputs)


def max_pooled(writer: GraphWriter, x: Value, name: str, dims: int, *options: Any) -> Value:
    """Max pooling; options: kernel size, stride, padding, dilation, ceil mode, as torch's function takes them."""
    kernel, stride, padding, dilation, ceil_mode = (*options, *(None, 0, 1, False)[len(options) - 1 :])
    kernel, padding = sizes(kernel, dims), sizes(padding, dims)
    attributes = {
        "kernel_shape": kernel,
        "strides": sizes(stride, dims) if stride else kernel,
        "pads": padding * 2,
        "dilations": sizes(dilation, dims),
        "ceil_mode": int(ceil_mode),
    }
    return writer.moved("MaxPool", x, name, **attributes)


def interpolated(writer: GraphWriter, x: Value, name: str, function: Any, before: Shape, after: Shape) -> Value:
    """Nearest interpolation; function: torch's, from which the source of every row and column is read."""
    for axis in range(2, len(before)):
        size, wanted = before[axis], after[axis]
        if size is None or wanted is None:
            raise UnsupportedOp(f"{name}: interpolation of the batch has no ONNX form")
    sources = _sources(function, before)
    factors = [len(s) // size for s, size in zip(sources, before[2:], strict=True)]
    repeats = [torch.arange(size).repeat_interleave(f) for size, f in zip(before[2:], factors, strict=True)]
    if all(torch.equal(s, r) for s, r in zip(sources, repeats, strict=True)):
        scales = writer.constant(f"{name}.scales", [1, 1, *factors])
        nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return writer.moved("Resize", x, name, ["", scales], **nearest)
    for axis, source in enumerate(sources, start=2):
        indices = writer.constant(f"{name}.source{axis}", source.tolist(), "int64")
        x = writer.moved("Gather", x, name if axis == len(before) - 1 else f"{name}.{axis}", [indices], axis=axis)
    return x


def _sources(function: Any, before: Shape) -> list[Tensor]:
    """For each spatial axis, the index from which nearest interpolation takes each element."""
    found = []
    for axis, size in enumerate(before[2:]):
        ramp = torch.arange(size, dtype=torch.float32).reshape([-1 if a == axis else 1 for a in range(len(before) - 2)])
        image = function(ramp.expand(*before[2:])[None, None].contiguous())[0, 0]
        found.append(image.movedim(axis, 0).flatten(1)[:, 0].long())
    return found


def sizes(value: Any, dims: int) -> list[int]:
    """A size for each spatial dimension, from one number or several."""
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    return [int(v) for v in (values * dims if len(values) == 1 else values)]

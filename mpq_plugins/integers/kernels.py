"""One integer kernel per step, on NumPy arrays of codes, int32 of [samples, *shape]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.integers import stages
from mpq_plugins.integers.program import Codes, Layout, Tensor
from mpq_plugins.integers.steps import (
    Add,
    AveragePool,
    Bound,
    Concat,
    Constant,
    Conv,
    Linear,
    Matmul,
    MaxPool,
    Mean,
    Move,
    Pair,
    Product,
    Reshape,
    Sides,
    Step,
)
from mpq_plugins.integers.table_steps import Lookup, Normalize, Rows, Softmax

Integers = NDArray[Any]
Arrays = Mapping[str, Codes]
SMALLEST = np.iinfo(np.int32).min


def compute(step: Step, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    """The codes that a step writes, int32 of [samples, *output.shape]; constants have one sample."""
    kernel: Callable[..., Integers] = _KERNELS[type(step)]
    return kernel(step, inputs, output, arrays, layout)


def _conv(step: Conv, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    weight = arrays[step.weight]
    x = _as_images(inputs[0], layout)
    rows, columns, _ = _sizes(output.shape, layout)
    dtype = np.int32 if step.accumulator_bits == 32 else np.int64
    taps = _taps(x.astype(dtype), step.padding, weight.shape[1:3], step.stride, step.dilation, (rows, columns), 0)
    samples, each = x.shape[1], len(weight) // step.groups
    windows = np.stack(taps).reshape(len(taps), step.groups, len(x) // step.groups, -1)
    factors = weight.astype(dtype).reshape(step.groups, each, len(taps), -1).transpose(2, 0, 3, 1)
    if step.groups == 1:  # the form that einsum computes fastest
        matrix = windows.reshape(-1, windows.shape[-1])
        sums = np.einsum("kp,ko->op", matrix, factors.reshape(len(matrix), each))
    else:
        sums = np.einsum("tgcp,tgco->gop", windows, factors).reshape(len(weight), -1)
    sums += arrays[step.bias].astype(dtype)[:, None]
    codes = stages.apply(step.stages, sums, 0)
    return _from_images(codes.reshape(-1, samples, rows, columns), output.shape, layout)


def _linear(step: Linear, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    dtype = np.int32 if step.accumulator_bits == 32 else np.int64
    x, weight = inputs[0].astype(dtype), arrays[step.weight].astype(dtype)
    sums = np.einsum("kp,ko->op", x.reshape(-1, x.shape[-1]).T, weight.T) + arrays[step.bias].astype(dtype)[:, None]
    return np.ascontiguousarray(stages.apply(step.stages, sums, 0).T).reshape(len(x), *output.shape)


def _add(step: Add, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    a, b = _alike(step, inputs, output)
    total = np.left_shift(a, step.left[0]) + np.left_shift(b, step.left[1])
    return stages.apply(step.stages, total, -1)


def _product(step: Product, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    a, b = _alike(step, inputs, output)
    return stages.apply(step.stages, a * b, -1)


def _alike(step: Add | Product, inputs: Sequence[Integers], output: Tensor) -> list[Integers]:
    """Both operands with as many axes as the output, in the integers of the accumulator."""
    dtype = np.int32 if step.accumulator_bits == 32 else np.int64
    rank = len(output.shape) + 1
    return [x.reshape(len(x), *(1,) * (rank - x.ndim), *x.shape[1:]).astype(dtype) for x in inputs]


def _mean(step: Mean, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    dtype = np.int32 if step.accumulator_bits == 32 else np.int64
    sums = inputs[0].sum(tuple(axis + 1 for axis in step.axes), dtype=dtype)
    return stages.apply(step.stages, sums, -1).reshape(len(inputs[0]), *output.shape)


def _matmul(step: Matmul, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    dtype = np.int32 if step.accumulator_bits == 32 else np.int64
    sums = np.einsum("...ik,...kj->...ij", *(x.astype(dtype) for x in inputs))
    return stages.apply(step.stages, sums, -1)


def _normalize(step: Normalize, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    x, axes = inputs[0].astype(np.int64), tuple(axis + 1 for axis in step.axes)
    count = math.prod(x.shape[axis] for axis in axes)
    deviation, finer, added = x << step.fraction, x << step.square_fraction, 0
    if step.centered:
        total = x.sum(axes, keepdims=True)
        means = [((total << (f + 1)) + count) // (2 * count) for f in (step.fraction, step.square_fraction)]
        deviation, finer = deviation - means[0], finer - means[1]
        added = (finer.sum(axes, keepdims=True) ** 2 + count // 2) // count
    square = np.maximum((finer * finer).sum(axes, keepdims=True) - added + step.epsilon, 1)
    exponent = sum((square >= 4**k).astype(np.int64) for k in range(1, 16))
    entries = len(arrays[step.table]) // 3
    scaled = (square * entries * 4) >> (2 * exponent + 2)
    products = deviation * arrays[step.table].astype(np.int64)[scaled - entries]
    shift = exponent + step.shift
    codes = (products + ((1 << shift) >> 1)) >> shift
    return np.asarray(np.clip(codes, step.low, step.high), np.int32)


def _softmax(step: Softmax, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    x, axis = inputs[0].astype(np.int64), step.axis + 1
    powers = arrays[step.table].astype(np.int64)[x.max(axis, keepdims=True) - x]
    total = powers.sum(axis, keepdims=True)
    codes = (powers * (2 * step.scale) + total) // (2 * total)
    return np.asarray(np.clip(codes, step.low, step.high), np.int32)


def _max_pool(step: MaxPool, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    x = _as_images(inputs[0], layout)
    size = _sizes(output.shape, layout)[:2]
    largest = None
    for part in _taps(x, step.padding, step.kernel, step.stride, step.dilation, size, SMALLEST):
        largest = part.copy() if largest is None else np.maximum(largest, part, out=largest)
    assert largest is not None
    return _from_images(largest, output.shape, layout)


def _average_pool(
    step: AveragePool, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout
) -> Integers:
    x = _as_images(inputs[0], layout)
    size = _sizes(output.shape, layout)[:2]
    sums = np.zeros((x.shape[0], x.shape[1], *size), np.int64)
    for part in _taps(x + step.offset, step.padding, step.kernel, step.stride, (1, 1), size, 0):
        sums += part
    counts = window_counts(x.shape[2:4], step, size)
    codes = stages.divide(sums, counts, step.rounding) - step.offset
    return _from_images(codes.astype(np.int32), output.shape, layout)


def window_counts(inside: Pair, step: AveragePool, size: Pair) -> Integers:
    """How many elements each window of an average counts, int64 of [rows, columns]."""
    counts = []
    for axis in (0, 1):
        before, after = step.padding[2 * axis], step.padding[2 * axis + 1]
        start = np.arange(size[axis]) * step.stride[axis] - before
        low, high = (-before, inside[axis] + after) if step.counts_padding else (0, inside[axis])
        counts.append(np.minimum(start + step.kernel[axis], high) - np.maximum(start, low))
    return np.asarray(counts[0][:, None] * counts[1][None, :], dtype=np.int64)


def _bound(step: Bound, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    return np.asarray(np.minimum(np.maximum(inputs[0], step.low), step.high))


def _lookup(step: Lookup, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    return np.asarray(arrays[step.table].astype(np.int32)[inputs[0] - step.first])


def _rows(step: Rows, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    return np.asarray(arrays[step.table].astype(np.int32)[inputs[0]])


def _concat(step: Concat, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    samples = max(len(x) for x in inputs)
    return np.concatenate([np.broadcast_to(x, (samples, *x.shape[1:])) for x in inputs], step.axis + 1)


def _move(step: Move, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    y = inputs[0].transpose(0, *(axis + 1 for axis in step.order))
    for axis, size in enumerate(output.shape):
        u = np.arange(size) * step.step[axis] - step.before[axis]
        index = u // (step.insert[axis] * step.repeat[axis])
        there = (u >= 0) & (u % step.insert[axis] == 0) & (index < y.shape[axis + 1])
        y = np.take(y, np.where(there, index, 0), axis + 1)
        if not there.all():
            shape = [1] * y.ndim
            shape[axis + 1] = size
            y = y * there.reshape(shape).astype(np.int32)
    return np.ascontiguousarray(y)


def _reshape(step: Reshape, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    return inputs[0].reshape(len(inputs[0]), *output.shape)


def _constant(step: Constant, inputs: Sequence[Integers], output: Tensor, arrays: Arrays, layout: Layout) -> Integers:
    return arrays[step.array].astype(np.int32).reshape(1, *output.shape)


def _sizes(shape: tuple[int, ...], layout: Layout) -> tuple[int, int, int]:
    """Rows, columns and channels of a tensor of images or signals."""
    channels, space = (shape[0], shape[1:]) if layout == "channels_first" else (shape[-1], shape[:-1])
    return (1, space[0], channels) if len(space) == 1 else (space[0], space[1], channels)


def _as_images(x: Integers, layout: Layout) -> Integers:
    """[samples, *shape] as [channels, samples, rows, columns]."""
    x = np.moveaxis(x, 1 if layout == "channels_first" else -1, 0)
    return x[:, :, None] if x.ndim == 3 else x


def _from_images(x: Integers, shape: tuple[int, ...], layout: Layout) -> Integers:
    y = np.moveaxis(x, 0, 1 if layout == "channels_first" else -1)
    return np.ascontiguousarray(y).reshape(x.shape[1], *shape)


def _taps(
    x: Integers, padding: Sides, kernel: Pair, stride: Pair, dilation: Pair, size: Pair, outside: int
) -> Sequence[Integers]:
    """For each element of a window, row by row: what it is at all positions, [channels, samples, *size]."""
    reach = [(size[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1 for i in (0, 1)]
    after = [max(reach[i] - x.shape[2 + i] - padding[2 * i], 0) for i in (0, 1)]
    sides = [(0, 0), (0, 0), (padding[0], after[0]), (padding[2], after[1])]
    x = np.pad(x, sides, constant_values=outside) if any(map(any, sides)) else x
    ends = [(size[i] - 1) * stride[i] + 1 for i in (0, 1)]
    corners = [(r * dilation[0], c * dilation[1]) for r in range(kernel[0]) for c in range(kernel[1])]
    return [x[:, :, r : r + ends[0] : stride[0], c : c + ends[1] : stride[1]] for r, c in corners]


_KERNELS: dict[type[Any], Callable[..., Integers]] = {
    Conv: _conv,
    Linear: _linear,
    Add: _add,
    Product: _product,
    Matmul: _matmul,
    Normalize: _normalize,
    Softmax: _softmax,
    Mean: _mean,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    Bound: _bound,
    Lookup: _lookup,
    Rows: _rows,
    Concat: _concat,
    Move: _move,
    Reshape: _reshape,
    Constant: _constant,
}

"""Every weighted op as one matrix product per group: the weight as a matrix, the input as columns.

``output[g] = weight_matrix[g] @ columns[g] + bias[g]`` for convolutions, transposed convolutions and
dense layers alike; compensated rounding works on this form. Inputs of a group are ordered channel
first, then kernel rows and columns, as on torch, so that both frameworks round in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.calibration.chunks import grains
from mpq_plugins.calibration.thinning import COLUMNS, EVERYWHERE, Thinning
from mpq_tfmot.canonical_ops import Op

Pair = tuple[int, int]
Array = NDArray[Any]


def weight_matrix(op: Op) -> Array:
    """The weight as [groups, outputs / groups, inputs / groups * kernel], float64."""
    weight = op.weight[None] if op.kind.endswith("1d") else op.weight
    if op.kind == "linear":
        return _channels_first(op, weight.T)[None]
    if op.kind.startswith("depthwise"):
        return weight.transpose(2, 3, 0, 1).reshape(weight.shape[2], 1, -1)
    if op.kind == "conv_transpose2d":
        # a transposed convolution is a convolution of the zero-stuffed input with the flipped kernel
        return weight[::-1, ::-1].transpose(2, 3, 0, 1).reshape(1, weight.shape[2], -1)
    return weight.transpose(3, 2, 0, 1).reshape(1, weight.shape[3], -1)


def weight_from_matrix(op: Op, matrix: Array) -> Array:
    """The inverse of weight_matrix, from [out, in] or [groups, out / groups, in]."""
    shape = (1, *op.weight.shape) if op.kind.endswith("1d") else op.weight.shape
    if op.kind == "linear":
        weight = _channels_last(op, matrix.reshape(shape[1], shape[0])).T
    elif op.kind.startswith("depthwise"):
        weight = matrix.reshape(shape[2], shape[3], *shape[:2]).transpose(2, 3, 0, 1)
    elif op.kind == "conv_transpose2d":
        weight = matrix.reshape(shape[2], shape[3], *shape[:2]).transpose(2, 3, 0, 1)[::-1, ::-1]
    else:
        weight = matrix.reshape(shape[3], shape[2], *shape[:2]).transpose(2, 3, 1, 0)
    return np.ascontiguousarray(weight.reshape(op.weight.shape))


def thinning_of(op: Op, samples: int, grain: int) -> Thinning:
    """Which positions of the op's output to look at when there are ``samples``; grain: see Thinning."""
    if op.kind in ("linear", "conv_transpose2d"):
        return EVERYWHERE
    height, width = op.shape[:2] if len(op.shape) == 3 else (1, op.shape[0])
    return Thinning.to_at_most(COLUMNS, height, width, samples, grain)


def thinned(op: Op, first: int, samples: int, total: int) -> Iterator[tuple[slice, Thinning]]:
    """The rows of a chunk of ``samples`` samples, grain by grain, and the positions of each to look at.

    first: number of the chunk's first sample; total: samples of the calibration set.
    """
    if op.kind in ("linear", "conv_transpose2d"):
        yield slice(None), EVERYWHERE
        return
    for run in grains(first, samples):
        yield slice(run.start, run.stop), thinning_of(op, total, run.grain)


def columns(op: Op, x: Array, thinning: Thinning = EVERYWHERE) -> Array:
    """The input of ``op`` as [groups, inputs / groups * kernel, samples * positions]."""
    if op.kind == "linear":
        return np.ascontiguousarray(_channels_first(op, x.reshape(-1, x.shape[-1])).T)[None]
    x = x[:, None] if x.ndim == 3 else x
    kernel, stride, dilation = kernel_size(op), _pair(op, "strides"), _pair(op, "dilation")
    same = op.options.get("padding", "valid") == "same"
    groups = x.shape[-1] if op.kind.startswith("depthwise") else 1
    if op.kind.startswith("depthwise"):
        stride = (max(stride), max(stride))
    if op.kind == "conv_transpose2d":
        return _windows(_stuffed(op, x, kernel, stride, same), kernel, (1, 1), (1, 1), groups)
    if same:
        pads = [same_padding(n, k, s, d) for n, k, s, d in zip(x.shape[1:3], kernel, stride, dilation, strict=True)]
        x = np.pad(x, [(0, 0), *pads, (0, 0)])
    top, left = thinning.offset
    x = x[:, top * stride[0] :, left * stride[1] :]
    strides = (stride[0] * thinning.every, stride[1] * thinning.every)
    return _windows(x, kernel, dilation, strides, groups)


def output_columns(op: Op, output: Array, thinning: Thinning = EVERYWHERE) -> Array:
    """An output of ``op`` as [outputs, samples * positions], in the order of ``columns``."""
    if op.kind != "linear":
        output = output[:, None] if output.ndim == 3 else output
        top, left = thinning.offset
        output = output[:, top :: thinning.every, left :: thinning.every]
    return np.ascontiguousarray(output.reshape(-1, output.shape[-1]).T)


def _channels_first(op: Op, rows: Array) -> Array:
    """Rows [n, in] of what a dense layer reads, those of a flattened image in the order (channel, row, column)."""
    image = op.options.get("flattened")
    return rows if image is None else np.moveaxis(rows.reshape(-1, *image), -1, 1).reshape(len(rows), -1)


def _channels_last(op: Op, rows: Array) -> Array:
    """The inverse of _channels_first."""
    image = op.options.get("flattened")
    if image is None:
        return rows
    return np.moveaxis(rows.reshape(-1, image[-1], *image[:-1]), 1, -1).reshape(len(rows), -1)


def _windows(x: Array, kernel: Pair, dilation: Pair, stride: Pair, groups: int) -> Array:
    samples, height, width, channels = x.shape
    rows = (height - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    cols = (width - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    by_channel = np.moveaxis(x, 3, 0)
    windows = np.empty((channels, *kernel, samples, rows, cols), x.dtype)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            bottom, right = top + (rows - 1) * stride[0] + 1, left + (cols - 1) * stride[1] + 1
            windows[:, i, j] = by_channel[:, :, top : bottom : stride[0], left : right : stride[1]]
    return windows.reshape(groups, channels // groups * kernel[0] * kernel[1], samples * rows * cols)


def _stuffed(op: Op, x: Array, kernel: Pair, stride: Pair, same: bool) -> Array:
    """The input of a transposed convolution with zeros between its elements and around them."""
    samples, height, width, channels = x.shape
    stuffed = np.zeros((samples, (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1, channels), x.dtype)
    stuffed[:, :: stride[0], :: stride[1]] = x
    pads = []
    for size, k, s, out in zip((height, width), kernel, stride, op.shape[:2], strict=True):
        cut = max((size - 1) * s + k - out, 0) // 2 if same else 0
        before = k - 1 - cut
        pads.append((before, out + k - 1 - ((size - 1) * s + 1) - before))
    return np.pad(stuffed, [(0, 0), *pads, (0, 0)])


def kernel_size(op: Op) -> Pair:
    return (1, op.weight.shape[0]) if op.kind.endswith("1d") else (op.weight.shape[0], op.weight.shape[1])


def _pair(op: Op, name: str) -> Pair:
    value = tuple(op.options.get(name, (1, 1)))
    return (1, value[0]) if len(value) == 1 else (value[0], value[1])


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> Pair:
    """TensorFlow's padding of one axis: before and after, the odd one after."""
    reach = dilation * (kernel - 1) + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2

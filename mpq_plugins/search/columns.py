"""Every layer as one matrix product per group: the weight as rows, what it reads as columns.

``output[g] = rows[g] @ columns[g] + bias[g]`` for convolutions, transposed convolutions and dense layers alike.
Inputs of a group are ordered channel first, then kernel rows and columns, in every framework; positions sample by
sample, then row by row. Arrays are NumPy's, in the layout of their graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Layout, Node
from mpq_plugins.graph.runner import Tensor
from mpq_plugins.rounding.moments.chunks import GRAIN, grains
from mpq_plugins.rounding.moments.thinning import COLUMNS, EVERYWHERE, Thinning

Array = NDArray[Any]
Pair = tuple[int, int]


def columns(node: Node, x: Array, layout: Layout, thinning: Thinning = EVERYWHERE) -> Array:
    """What a layer reads as [groups, inputs / groups * kernel, samples * positions]."""
    if node.op == "linear":
        return np.ascontiguousarray(x.reshape(-1, x.shape[-1]).T)[None]
    assert node.weight is not None
    a, kernel = node.attrs, _two(node.weight.shape[2:], 1)
    stride, dilation = _two(a["stride"], 1), _two(a["dilation"], 1)
    sides = (((0, 0), *a["padding"]))[-2:]
    images = channels_lead(x, layout)
    if node.op.startswith("conv_transpose"):
        images, stride = _stuffed(images, stride), (1, 1)
        reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        sides = tuple((r - before, r - after) for r, (before, after) in zip(reach, sides, strict=True))
    images = _padded(images, sides)
    top, left = thinning.offset
    images = images[:, :, top * stride[0] :, left * stride[1] :]
    every = (stride[0] * thinning.every, stride[1] * thinning.every)
    return _windows(images, kernel, dilation, every, int(a["groups"]))


def output_columns(node: Node, y: Array, layout: Layout, thinning: Thinning = EVERYWHERE) -> Array:
    """An output of a layer as [outputs, samples * positions], in the order of ``columns``."""
    if node.op == "linear":
        return np.ascontiguousarray(y.reshape(-1, y.shape[-1]).T)
    images = channels_lead(looked_at(node, y, layout, thinning), layout)
    return np.ascontiguousarray(images).reshape(len(images), -1)


def looked_at(node: Node, y: Tensor, layout: Layout, thinning: Thinning) -> Tensor:
    """The positions of a layer's output, an array or a framework's tensor, that ``thinning`` leaves; of its rank."""
    if node.op == "linear" or thinning == EVERYWHERE:
        return y
    top, left = thinning.offset
    rows, across = slice(top, None, thinning.every), slice(left, None, thinning.every)
    places = (rows, across) if y.ndim == 4 else (across,)
    return y[(slice(None), slice(None), *places) if layout == "NCHW" else (slice(None), *places)]


def thinned(
    node: Node,
    output: tuple[int, ...],
    layout: Layout,
    first: int,
    samples: int,
    total: int,
    most: int = COLUMNS,
) -> Iterator[tuple[slice, Thinning]]:
    """Parts of a chunk's rows, each with the positions to look at, so that all samples give about ``most`` of them.

    output: the whole shape of the layer's output on the chunk. first: number of the chunk's first sample in the
    calibration set, of ``total``. Transposed convolutions and dense layers are looked at everywhere.
    """
    if node.op == "linear" or node.op.startswith("conv_transpose"):
        yield slice(None), EVERYWHERE
        return
    sizes = output[2:] if layout == "NCHW" else output[1:-1]
    height, width = _two(sizes, 1)
    rows = output[0] // samples if output[0] % samples == 0 else 0
    if not rows:  # rows that belong to no sample in particular
        yield slice(None), Thinning.to_at_most(most, height, width, total, first // GRAIN)
        return
    for run in grains(first, samples):
        part = slice(run.start * rows, run.stop * rows)
        yield part, Thinning.to_at_most(most, height, width, total * rows, run.grain)


def channels_lead(x: Array, layout: Layout) -> Array:
    """Images or signals as [channels, samples, rows, columns], a view where that is possible."""
    images = np.moveaxis(x, 1 if layout == "NCHW" else -1, 0)
    return images[:, :, None] if images.ndim == 3 else images


def _windows(images: Array, kernel: Pair, dilation: Pair, stride: Pair, groups: int) -> Array:
    """All windows as columns: one strided copy for each kernel position."""
    channels, samples, height, width = images.shape
    rows = (height - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    cols = (width - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    windows = np.empty((channels, *kernel, samples, rows, cols), images.dtype)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            top, left = i * dilation[0], j * dilation[1]
            bottom, right = top + (rows - 1) * stride[0] + 1, left + (cols - 1) * stride[1] + 1
            windows[:, i, j] = images[:, :, top : bottom : stride[0], left : right : stride[1]]
    return windows.reshape(groups, channels // groups * kernel[0] * kernel[1], samples * rows * cols)


def _stuffed(images: Array, stride: Pair) -> Array:
    """Images with zeros between their elements."""
    channels, samples, height, width = images.shape
    stuffed = np.zeros((channels, samples, (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1), images.dtype)
    stuffed[:, :, :: stride[0], :: stride[1]] = images
    return stuffed


def _padded(images: Array, sides: tuple[Pair, ...]) -> Array:
    """Images with zeros around them, fewer rows and columns where a side is below zero; np.pad takes thrice as long."""
    if not any(side for pair in sides for side in pair):
        return images
    shape, into, out_of = list(images.shape), [slice(None)] * 4, [slice(None)] * 4
    for axis, (before, after) in enumerate(sides, 2):
        size = shape[axis]
        shape[axis] = max(0, size + before + after)
        into[axis] = slice(max(before, 0), max(before, 0) + size + min(before, 0) + min(after, 0))
        out_of[axis] = slice(max(-before, 0), size - max(-after, 0))
    padded = np.zeros(shape, images.dtype)
    padded[tuple(into)] = images[tuple(out_of)]
    return padded


def _two(sizes: tuple[int, ...], neutral: int) -> Pair:
    """Rows and columns; over signals the rows are neutral."""
    return (neutral, int(sizes[0])) if len(sizes) == 1 else (int(sizes[0]), int(sizes[1]))

"""Every weighted layer as one matrix product per group: the weight as a matrix, the input as columns.

``output[g] = weight_matrix[g] @ columns[g] + bias[g]`` for convolutions, transposed convolutions and
linears alike; compensated rounding works on this form.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from mpq_plugins.calibration.chunks import GRAIN, grains
from mpq_plugins.calibration.thinning import COLUMNS, EVERYWHERE, Thinning

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
Pair = tuple[int, int]


def weight_matrix(layer: nn.Module, weight: Tensor | None = None) -> Tensor:
    """The weight as [groups, outputs / groups, inputs / groups * kernel]."""
    weight = layer.weight.detach() if weight is None else weight
    if isinstance(layer, nn.Linear):
        return weight.unsqueeze(0)
    groups = layer.groups
    if isinstance(layer, TRANSPOSED):
        # a transposed convolution is a convolution of the zero-stuffed input with the flipped kernel
        flipped = weight.flip(tuple(range(2, weight.dim())))
        split = flipped.reshape(groups, weight.shape[0] // groups, weight.shape[1], *weight.shape[2:])
        return split.transpose(1, 2).flatten(2).contiguous()
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def weight_from_matrix(layer: nn.Module, matrix: Tensor) -> Tensor:
    """The inverse of weight_matrix: a tensor of the layer's own weight shape."""
    weight = layer.weight
    if isinstance(layer, TRANSPOSED):
        groups, inputs = layer.groups, weight.shape[0] // layer.groups
        split = matrix.reshape(groups, weight.shape[1], inputs, *weight.shape[2:]).transpose(1, 2)
        return split.reshape(weight.shape).flip(tuple(range(2, weight.dim()))).contiguous()
    return matrix.reshape(weight.shape).contiguous()


def thinning_of(layer: nn.Module, output: Tensor, samples: int, grain: int) -> Thinning:
    """Which positions of ``output`` to look at when there are ``samples`` like it; grain: see Thinning."""
    if not isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        return EVERYWHERE
    height, width = output.shape[-2] if output.dim() == 4 else 1, output.shape[-1]
    return Thinning.to_at_most(COLUMNS, height, width, samples, grain)


def thinned(layer: nn.Module, output: Tensor, first: int, samples: int, total: int) -> Iterator[tuple[slice, Thinning]]:
    """The rows of a chunk of ``samples`` samples, grain by grain, and the positions of each to look at.

    first: number of the chunk's first sample; total: samples of the calibration set.
    """
    rows, rest = divmod(len(output), samples)
    if rest or not isinstance(layer, (nn.Conv1d, nn.Conv2d)):
        yield slice(None), thinning_of(layer, output, total, first // GRAIN)
        return
    for run in grains(first, samples):
        yield slice(run.start * rows, run.stop * rows), thinning_of(layer, output, total * rows, run.grain)


def columns(layer: nn.Module, x: Tensor, thinning: Thinning = EVERYWHERE) -> Tensor:
    """The input of ``layer`` as [groups, inputs / groups * kernel, samples * positions]."""
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1]).t().unsqueeze(0)
    if x.dim() == 3:
        x = x.unsqueeze(2)
    two = _as_two(layer)
    if isinstance(layer, TRANSPOSED):
        return _windows(_zero_stuffed(x, two), two["kernel_size"], two["dilation"], (1, 1), layer.groups)
    (ph, pw), (sh, sw) = _padding(layer, two), two["stride"]
    top, left = thinning.offset
    x = F.pad(x, (pw, pw, ph, ph))[:, :, top * sh :, left * sw :]
    strides = (sh * thinning.every, sw * thinning.every)
    return _windows(x, two["kernel_size"], two["dilation"], strides, layer.groups)


def _windows(x: Tensor, kernel: Pair, dilation: Pair, stride: Pair, groups: int) -> Tensor:
    """All windows of x as columns. One strided copy per kernel position: torch's unfold is far slower."""
    channels = x.shape[1]
    views = _views(x.transpose(0, 1), kernel, dilation, stride)
    windows = x.new_empty(channels, len(views), *views[0].shape[1:])
    for index, view in enumerate(views):
        windows[:, index] = view
    return windows.view(groups, channels // groups * len(views), -1)


def kernel_windows(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """What each kernel position of a 2-d convolution multiplies, views of [samples, channels, rows, columns]."""
    two = _as_two(layer)
    ph, pw = _padding(layer, two)
    return _views(F.pad(x, (pw, pw, ph, ph)), two["kernel_size"], two["dilation"], two["stride"])


def _views(x: Tensor, kernel: Pair, dilation: Pair, stride: Pair) -> list[Tensor]:
    height, width = x.shape[-2:]
    rows = (height - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
    cols = (width - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
    corners = [(i * dilation[0], j * dilation[1]) for i in range(kernel[0]) for j in range(kernel[1])]
    return [
        x[
            :,
            :,
            top : top + (rows - 1) * stride[0] + 1 : stride[0],
            left : left + (cols - 1) * stride[1] + 1 : stride[1],
        ]
        for top, left in corners
    ]


def output_columns(layer: nn.Module, output: Tensor, thinning: Thinning = EVERYWHERE) -> Tensor:
    """An output of ``layer`` as [outputs, samples * positions], in the order of ``columns``."""
    if isinstance(layer, nn.Linear):
        return output.reshape(-1, output.shape[-1]).t()
    if output.dim() == 3:
        output = output.unsqueeze(2)
    top, left = thinning.offset
    return output[:, :, top :: thinning.every, left :: thinning.every].transpose(0, 1).flatten(1)


def _as_two(layer: nn.Module) -> dict[str, Pair]:
    """The layer's geometry as for two dimensions; a 1-d layer has height one."""
    neutral = {"kernel_size": 1, "stride": 1, "dilation": 1, "padding": 0, "output_padding": 0}
    geometry = {}
    for name, single in neutral.items():
        value = getattr(layer, name)
        if isinstance(value, tuple):
            geometry[name] = value if len(value) == 2 else (single, value[0])
    return geometry


def _padding(layer: nn.Module, two: dict[str, Pair]) -> Pair:
    if layer.padding == "valid":
        return (0, 0)
    if layer.padding == "same":
        extra = [d * (k - 1) for d, k in zip(two["dilation"], two["kernel_size"], strict=True)]
        return (extra[0] // 2, extra[1] // 2)
    return two["padding"]


def _zero_stuffed(x: Tensor, two: dict[str, Pair]) -> Tensor:
    samples, channels, height, width = x.shape
    (sh, sw), (kh, kw), (dh, dw) = two["stride"], two["kernel_size"], two["dilation"]
    (ph, pw), (oh, ow) = two["padding"], two["output_padding"]
    stuffed = x.new_zeros(samples, channels, (height - 1) * sh + 1, (width - 1) * sw + 1)
    stuffed[:, :, ::sh, ::sw] = x
    top, left = dh * (kh - 1) - ph, dw * (kw - 1) - pw
    return F.pad(stuffed, (left, left + ow, top, top + oh))

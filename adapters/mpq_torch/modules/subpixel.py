"""Transposed convolutions as ordinary ones, because torch's integer kernels for them are not all right.

oneDNN's int8 deconvolution (engine onednn, and x86 on processors with VNNI) reads the weight with
wrong strides unless input and output channels are equal in number, and refuses output padding; the
kernels of both engines refuse a step per channel. An ordinary convolution has none of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import EllipsisType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpq_torch.modules.padded import pad_of

# constructors take pairs, and layers keep tuples of any length
_CONVOLUTIONS: Mapping[type[nn.Module], Callable[..., nn.Conv1d | nn.Conv2d]] = {
    nn.ConvTranspose1d: nn.Conv1d,
    nn.ConvTranspose2d: nn.Conv2d,
}
_TRANSPOSED: Mapping[type[nn.Module], Callable[..., nn.ConvTranspose1d | nn.ConvTranspose2d]] = {
    nn.Conv1d: nn.ConvTranspose1d,
    nn.Conv2d: nn.ConvTranspose2d,
}


class SubpixelConvTranspose(nn.Module):
    """A ConvTranspose1d or 2d as a convolution with ``prod(stride)`` times the channels, interleaved.

    Output ``stride * m + r - padding`` of a transposed convolution is the dot product of inputs
    ``m, m - 1, ...`` with every stride-th weight from the r-th on: one small convolution for each
    phase r (Shi et al., 1609.07009). Same products and, in integers, the same sums; kernel sizes are
    padded with zeros to a multiple of the stride, and a dilated kernel is one with zeros between its elements. Only
    ops that keep the grid follow the convolution.

    pads_before: whether the convolution's input is padded by an op of its own (see padded.py).
    """

    def __init__(self, layer: nn.ConvTranspose1d | nn.ConvTranspose2d, pads_before: bool = False) -> None:
        super().__init__()
        assert not isinstance(layer.padding, str)  # a transposed convolution takes numbers alone
        self.stride, self.padding = layer.stride, layer.padding
        self.kernel_size, self.output_padding, self.dilation = layer.kernel_size, layer.output_padding, layer.dilation
        self.channels = layer.out_channels
        reach = tuple(d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True))
        sizes = list(zip(reach, layer.stride, layer.padding, layer.output_padding, strict=True))
        taps = [max(math.ceil(k / s), math.ceil((k + o - p) / s)) for k, s, p, o in sizes]
        self.cropped = tuple(t * s - k + 2 * p - o for t, (k, s, p, o) in zip(taps, sizes, strict=True))
        self.conv = _CONVOLUTIONS[type(layer)](
            layer.in_channels,
            layer.out_channels * math.prod(layer.stride),
            tuple(taps),
            padding=tuple(t - 1 for t in taps),
            groups=layer.groups,
            bias=layer.bias is not None,
        )
        with torch.no_grad():
            self.conv.weight.copy_(_phases(_spread(layer.weight, layer.dilation), layer.groups, taps, layer.stride))
            if layer.bias is not None and self.conv.bias is not None:
                self.conv.bias.copy_(layer.bias.repeat_interleave(math.prod(layer.stride)))
        self.pad = pad_of(self.conv) if pads_before else None
        if pads_before:
            self.conv.padding = (0,) * len(taps)
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x if self.pad is None else self.pad(x))
        axes = len(self.stride)
        sizes = [y.size(2 + axis) for axis in range(axes)]
        y = y.reshape(y.size(0), self.channels, *self.stride, *sizes)
        order = [position for axis in range(axes) for position in (2 + axes + axis, 2 + axis)]
        y = y.permute(0, 1, *order)
        for axis in reversed(range(axes)):
            y = torch.flatten(y, 2 + 2 * axis, 3 + 2 * axis)
        for axis in range(axes):
            if self.cropped[axis]:
                y = torch.narrow(y, 2 + axis, self.padding[axis], y.size(2 + axis) - self.cropped[axis])
        return y

    def transposed(self) -> nn.ConvTranspose1d | nn.ConvTranspose2d:
        """The transposed convolution again, with the weight and bias of now."""
        layer = _TRANSPOSED[type(self.conv)](
            self.conv.in_channels,
            self.channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.output_padding,
            groups=self.conv.groups,
            bias=self.conv.bias is not None,
            dilation=self.dilation,
        )
        reach = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))
        with torch.no_grad():
            spread = _whole(self.conv.weight, self.conv.groups, reach, self.stride)
            layer.weight.copy_(spread[_every(self.dilation)])
            if layer.bias is not None and self.conv.bias is not None:
                layer.bias.copy_(self.conv.bias[:: math.prod(self.stride)])
        return layer.train(self.training)


def _spread(weight: Tensor, dilation: tuple[int, ...]) -> Tensor:
    """The kernel with zeros between its elements, so that it needs no dilation."""
    reach = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    spread = weight.new_zeros(*weight.shape[:2], *reach)
    spread[_every(dilation)] = weight
    return spread


def _every(dilation: tuple[int, ...]) -> tuple[EllipsisType | slice, ...]:
    """The elements of a spread kernel, as an index."""
    return (..., *(slice(None, None, step) for step in dilation))


def _phases(weight: Tensor, groups: int, taps: list[int], stride: tuple[int, ...]) -> Tensor:
    """[in, out/groups, *kernel] -> [out * prod(stride), in/groups, *taps], taps in reverse order."""
    axes = len(stride)
    missing = [t * s - k for t, s, k in zip(taps, stride, weight.shape[2:], strict=True)]
    weight = F.pad(weight, [pad for m in reversed(missing) for pad in (0, m)])
    split = [size for pair in zip(taps, stride, strict=True) for size in pair]
    weight = weight.reshape(groups, -1, weight.shape[1], *split)
    tap_axes = [3 + 2 * axis for axis in range(axes)]
    weight = weight.flip(tap_axes).permute(0, 2, *[t + 1 for t in tap_axes], 1, *tap_axes)
    return weight.reshape(-1, weight.shape[2 + axes], *taps)


def _whole(weight: Tensor, groups: int, kernel_size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """The inverse of ``_phases``."""
    axes = len(stride)
    weight = weight.reshape(groups, -1, *stride, *weight.shape[1:])
    tap_axes = [3 + axes + axis for axis in range(axes)]
    pairs = [position for axis in range(axes) for position in (tap_axes[axis], 2 + axis)]
    weight = weight.flip(tap_axes).permute(0, 2 + axes, 1, *pairs).flatten(0, 1)
    for axis in reversed(range(axes)):
        weight = weight.flatten(2 + 2 * axis, 3 + 2 * axis)
    for axis, size in enumerate(kernel_size):
        weight = weight.narrow(2 + axis, 0, size)
    return weight

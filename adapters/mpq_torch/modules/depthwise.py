"""Wide depthwise convolutions in slices, because one x86 kernel for them saturates.

The x86 engine hands convolutions of more than 100 groups to fbgemm, whose depthwise kernel adds
pairs of products in 16 bits on every processor, VNNI or not: 8-bit weights with 8-bit activations
come out wrong without a word. Slices of at most 96 channels go to oneDNN, which is exact and as fast.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mpq_plugins.grid import Grid

LARGEST_PAIR_SUM = 32767
MOST_GROUPS = 100
SLICE = 96


def saturates(layer: nn.Module, weight: Grid, source: Grid) -> bool:
    """Whether x86 would run the layer in the saturating kernel, on grids that can overflow it.

    source: the grid of the input, stored with its lowest code at zero (observers.zero_point_of).
    """
    if not isinstance(layer, nn.Conv2d) or not layer.groups == layer.in_channels == layer.out_channels:
        return False
    pair_sum = 2 * (source.high - source.low) * max(weight.high, -weight.low)
    return layer.groups > MOST_GROUPS and pair_sum > LARGEST_PAIR_SUM


def sliced_grids(grid: Grid, size: int = SLICE) -> tuple[Grid, ...]:
    """The weight grid of each slice of a per-channel weight grid: of ``slices.0``, ``slices.1``, ..."""
    parts = [grid.steps[start : start + size] for start in range(0, len(grid.steps), size)]
    return tuple(Grid(grid.bits, part, grid.signed, grid.narrow, grid.axis) for part in parts)


class SlicedDepthwise(nn.Module):
    """A depthwise Conv2d as convolutions of slices of its channels; the same numbers.

    Their outputs share the grid of the whole. ``whole()`` gives the one convolution back.
    """

    def __init__(self, layer: nn.Conv2d, size: int = SLICE) -> None:
        super().__init__()
        self.starts = tuple(range(0, layer.groups, size))
        self.sizes = tuple(min(size, layer.groups - start) for start in self.starts)
        slices = [_resized(layer, channels) for channels in self.sizes]
        self.slices = nn.ModuleList(slices)
        for part, start, channels in zip(slices, self.starts, self.sizes, strict=True):
            part.weight.data.copy_(layer.weight.data[start : start + channels])
            if layer.bias is not None and part.bias is not None:
                part.bias.data.copy_(layer.bias.data[start : start + channels])
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        parts = [
            part(torch.narrow(x, 1, start, channels))
            for part, start, channels in zip(self.slices, self.starts, self.sizes, strict=True)
        ]
        return torch.cat(parts, 1)

    def whole(self) -> nn.Conv2d:
        """The convolution of all channels, with the weight and bias of now."""
        slices = [part for part in self.slices if isinstance(part, nn.Conv2d)]
        layer = _resized(slices[0], sum(self.sizes))
        layer.weight.data.copy_(torch.cat([part.weight.data for part in slices]))
        if layer.bias is not None:
            layer.bias.data.copy_(torch.cat([part.bias.data for part in slices if part.bias is not None]))
        return layer.train(self.training)


def _resized(layer: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A depthwise convolution like ``layer``, of so many channels and any weights."""
    kind: Callable[..., nn.Conv2d] = nn.Conv2d  # it takes pairs, and keeps tuples of any length
    return kind(
        channels,
        channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        channels,
        layer.bias is not None,
        layer.padding_mode,
    )

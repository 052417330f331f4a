"""Convolutions that are padded before their kernel, because QNNPACK's kernel keeps the padding of its first call.

It fills the padding with the zero point of the first input and packs anew only where the step of a later one is
another: a layer that is called again, on a grid of the same step and another zero point, is padded with a value that
is not zero. (Transposed convolutions keep more than that; see subpixel.py.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

from mpq_torch.modules.written import Pad

Convolution = TypeVar("Convolution", bound=nn.Conv1d | nn.Conv2d)


class PaddedConvolution(nn.Module):
    """A Conv1d or Conv2d whose input is padded by ops that keep its grid. ``whole()`` gives the convolution back."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__()
        self.padding = _amounts(layer)
        self.pad = pad_of(layer)
        self.conv = _with_padding(layer, (0,) * len(layer.kernel_size))
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.pad(x))
        return y

    def whole(self) -> nn.Conv1d | nn.Conv2d:
        """The convolution with its own padding, with the weight and bias of now."""
        return _with_padding(self.conv, self.padding).train(self.training)


def pad_of(layer: nn.Conv1d | nn.Conv2d) -> Pad:
    """The padding of a convolution, as an op of its own."""
    return Pad(tuple(side for before in reversed(_amounts(layer)) for side in (before, before)))


def _amounts(layer: nn.Conv1d | nn.Conv2d) -> tuple[int, ...]:
    """The padding of a convolution by axis: what the reader lets through is no word ("same")."""
    assert not isinstance(layer.padding, str)
    return layer.padding


def _with_padding(layer: Convolution, padding: tuple[int, ...]) -> Convolution:
    kind: Callable[..., Convolution] = type(layer)  # it takes pairs, and keeps tuples of any length
    made = kind(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        padding,
        layer.dilation,
        layer.groups,
        layer.bias is not None,
    )
    made.weight.data.copy_(layer.weight.data)
    if layer.bias is not None and made.bias is not None:
        made.bias.data.copy_(layer.bias.data)
    return made

"""Convolutions that are padded before their kernel, because QNNPACK's kernel keeps the padding of its first call.

It fills the padding with the zero point of the first input and packs anew only where the step of a later one is
another: a layer that is called again, on a grid of the same step and another zero point, is padded with a value that
is not zero. (Transposed convolutions keep more than that; see subpixel.py.)
"""

from __future__ import annotations

from torch import Tensor, nn

from mpq_torch.modules.written import Pad


class PaddedConvolution(nn.Module):
    """A Conv1d or Conv2d whose input is padded by ops that keep its grid. ``whole()`` gives the convolution back."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d) -> None:
        super().__init__()
        self.padding = layer.padding
        self.pad = pad_of(layer)
        self.conv = _with_padding(layer, (0,) * len(layer.kernel_size))
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pad(x))

    def whole(self) -> nn.Conv1d | nn.Conv2d:
        """The convolution with its own padding, with the weight and bias of now."""
        return _with_padding(self.conv, self.padding).train(self.training)


def pad_of(layer: nn.Conv1d | nn.Conv2d) -> Pad:
    """The padding of a convolution, as an op of its own."""
    return Pad(tuple(side for before in reversed(layer.padding) for side in (before, before)))


def _with_padding(layer: nn.Module, padding: tuple[int, ...]) -> nn.Conv1d | nn.Conv2d:
    made = type(layer)(
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
    if layer.bias is not None:
        made.bias.data.copy_(layer.bias.data)
    return made

"""Networks for what the torch networks do not have: ceil modes, reorderings, several inputs, float parts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Pools(nn.Module):
    """Max pooling with a ceil mode and with dilation, average pooling with padding and over signals."""

    input_shape = (2, 13, 14)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.ceil = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.dilated = nn.MaxPool2d(2, 1, 0, dilation=2)
        self.average = nn.AvgPool2d(3, 2, 1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.dilated(self.ceil(F.relu(self.conv(x))))
        x = F.avg_pool2d(self.average(F.max_pool2d(x, 2, stride=1)), (2, 1), stride=1)
        return self.fc(x.mean((2, 3)))


class Tokens(nn.Module):
    """Linears on tensors of three axes, transposed and permuted in between."""

    input_shape = (5, 6)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Linear(6, 8)
        self.positions = nn.Linear(5, 7)
        self.head = nn.Linear(56, 3)

    def forward(self, x):
        x = self.positions(F.relu(self.features(x)).transpose(1, 2))
        return self.head(x.permute(0, 2, 1).contiguous().reshape(x.size(0), -1))


class Pulse(nn.Module):
    """Pooling of signals, a depthwise convolution of one dimension, a global average, a squeeze."""

    input_shape = (2, 24)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 6, 3, padding=1, groups=2)
        self.average = nn.AvgPool1d(2, 2)
        self.largest = nn.MaxPool1d(2)
        self.depthwise = nn.Conv1d(6, 6, 3, padding=1, groups=6)
        self.pool = nn.AdaptiveAvgPool1d(1)
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        x = self.depthwise(self.largest(self.average(F.relu(self.conv(x)))))
        return self.fc(self.pool(x).squeeze(-1))


class Stretched(nn.Module):
    """Nearest interpolation to odd sizes and to those of another tensor, padding, grouped deconvolution."""

    input_shape = (2, 5, 6)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.up = nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2)
        self.out = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        y = F.interpolate(F.relu6(self.conv(x)), size=(7, 11))
        y = F.interpolate(F.interpolate(y, size=x.shape[2:]), scale_factor=2.0)
        return self.out(self.up(F.pad(y, (1, 0, 2, 1))))


class Gelu(nn.Module):
    """A part that stays float between two linears, and a float tail."""

    input_shape = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.act = nn.GELU()
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        return torch.softmax(self.last(self.act(self.first(x))), dim=1)


class TwoInputs(nn.Module):
    """Two inputs and a dictionary of two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3)
        self.b = nn.Conv2d(2, 4, 3)
        self.c = nn.Conv2d(4, 2, 1)

    def forward(self, x, y):
        a = self.a(x)
        return {"sum": self.c(a + F.relu(self.b(y))), "share": torch.sigmoid(a)}


KINDS = [Pools, Tokens, Pulse, Stretched]

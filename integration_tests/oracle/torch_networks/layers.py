"""Layers with every option, as modules and as functions, over signals and images, in torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Signal(nn.Module):
    """One-dimensional and transposed convolutions, functional layers, a hardtanh."""

    shape = (2, 12)

    def __init__(self):
        super().__init__()
        self.down, self.norm = nn.Conv1d(2, 6, 3, stride=2, padding=1), nn.BatchNorm1d(6)
        self.up = nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1)
        self.weight, self.head = nn.Parameter(torch.zeros(3, 4, 3)), nn.Parameter(torch.zeros(5, 30))

    def forward(self, x):
        x = F.relu(self.norm(self.down(x)))
        x = F.conv1d(F.hardtanh(self.up(x), -1.0, 1.0), self.weight)
        return F.linear(x.reshape(x.shape[0], -1), self.head)


class Pulse(nn.Module):
    """Pooling of signals, grouped and depthwise convolutions of one dimension, a global average, a squeeze."""

    shape = (2, 24)

    def __init__(self):
        super().__init__()
        self.conv, self.average = nn.Conv1d(2, 6, 3, padding=1, groups=2), nn.AvgPool1d(2, 2)
        self.largest = nn.MaxPool1d(2, stride=1, padding=1)
        self.depthwise = nn.Conv1d(6, 6, 3, padding=2, dilation=2, groups=6)
        self.pool, self.fc = nn.AdaptiveAvgPool1d(1), nn.Linear(6, 2)

    def forward(self, x):
        x = self.depthwise(self.largest(self.average(F.relu(self.conv(x)))))
        return self.fc(self.pool(x).squeeze(-1))


class Upsampler(nn.Module):
    """Transposed convolutions of images: strided, grouped, with output padding; nearest upsampling; padding."""

    shape = (3, 5, 6)
    without = ("generic-po2-per-channel",)  # groups of a transposed layer share the steps of their channels

    def __init__(self):
        super().__init__()
        self.up, self.bn = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1), nn.BatchNorm2d(4)
        self.grouped = nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2)
        self.out = nn.Conv2d(6, 2, 3, padding=1)

    def forward(self, x):
        y = F.interpolate(F.relu(self.bn(self.up(x))), scale_factor=2.0, mode="nearest")
        return self.out(self.grouped(F.pad(y, (1, 0, 2, 1))))


class Moves(nn.Module):
    """Padded, dilated, overhanging pooling, a lopsided kernel, and every way to move elements."""

    shape = (4, 11, 10)
    without = ("generic-po2-per-channel",)  # groups of a transposed layer share the steps of their channels

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2), groups=2)
        self.max, self.holes = nn.MaxPool2d(3, 1, padding=1), nn.MaxPool2d(2, 1, dilation=2, ceil_mode=True)
        self.average = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)
        self.up, self.fc = nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, groups=2), nn.Linear(10, 4)

    def forward(self, x):
        x = torch.relu(self.conv(F.pad(x, (1, 0, 0, 2))))
        x = self.up(self.average(self.holes(self.max(x))))
        x = x.permute(0, 2, 3, 1).flatten(2).transpose(1, 2)
        return self.fc(F.interpolate(x.unsqueeze(1), scale_factor=2.0, mode="nearest"))


class Pools(nn.Module):
    """Max pooling with a ceil mode and with dilation, average pooling with padding and over signals."""

    shape = (2, 21, 22)

    def __init__(self):
        super().__init__()
        self.conv, self.ceil = nn.Conv2d(2, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.dilated, self.average = nn.MaxPool2d(2, 1, 0, dilation=2), nn.AvgPool2d(3, 2, 1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.dilated(self.ceil(self.average(self.conv(x))))
        x = F.avg_pool2d(F.max_pool2d(x, 2, stride=1), (2, 1), stride=1)
        return self.fc(x.mean((2, 3)))


class Depthwise(nn.Module):
    """Depthwise convolutions with a multiplier, strided, dilated, padded by name, over images and signals."""

    shape = (4, 9, 8)

    def __init__(self):
        super().__init__()
        self.twice = nn.Conv2d(4, 8, 3, stride=(2, 1), padding=1, groups=4)
        self.norm = nn.BatchNorm2d(8)
        self.holes = nn.Conv2d(8, 8, (3, 5), padding="same", dilation=2, groups=8, bias=False)
        self.thrice = nn.Conv1d(8, 24, 3, stride=2, groups=8)
        self.fc = nn.Conv1d(24, 3, 1)

    def forward(self, x):
        x = F.relu(self.holes(F.relu(self.norm(self.twice(x)))))
        return self.fc(self.thrice(x.flatten(2)))


FUNCTIONS_1D = [
    (F.conv1d, (4, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
    (F.conv1d, (4, 4, 4), {"padding": "valid"}),
    (F.conv_transpose1d, (4, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
]
FUNCTIONS_2D = [
    (F.conv2d, (4, 4, 3, 1), {"stride": (1, 2), "padding": (1, 0), "bias": None}),
    (F.conv2d, (4, 4, 3, 3), {"padding": 2, "dilation": 2}),
    (F.conv2d, (4, 4, 3, 1), {"padding": "same", "dilation": 2}),
    (F.conv_transpose2d, (4, 4, 2, 3), {"stride": (2, 1), "padding": (0, 1)}),
]
TRANSPOSED_2D = [
    (F.conv_transpose2d, (4, 2, 3, 3), {"stride": 2, "groups": 2, "dilation": 2}),
    (F.conv_transpose2d, (4, 4, 3, 3), {"stride": (2, 1), "padding": (0, 1), "output_padding": (1, 0)}),
]


class Functional(nn.Module):
    """Functional layers side by side, each with options of its own."""

    functions = FUNCTIONS_2D
    shape = (4, 6, 6)

    def __init__(self):
        super().__init__()
        self.kernels = nn.ParameterList([torch.zeros(shape) for _, shape, _ in self.functions])
        self.offset = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        outputs = []
        for index, (function, _, options) in enumerate(self.functions):
            outputs.append(function(x, self.kernels[index], **{"bias": self.offset, **options}))
        return tuple(outputs)


class FunctionalSignals(Functional):
    """The same over signals."""

    functions = FUNCTIONS_1D
    shape = (4, 12)


class FunctionalTransposed(Functional):
    """Grouped and dilated transposed convolutions."""

    functions = TRANSPOSED_2D
    without = ("generic-po2-per-channel",)  # groups of a transposed layer share the steps of their channels


class Stretched(nn.Module):
    """Nearest interpolation to sizes that are no multiples, and to that of another tensor."""

    shape = (2, 5, 6)

    def __init__(self):
        super().__init__()
        self.conv, self.up, self.out = nn.Conv2d(2, 4, 1), nn.Upsample((9, 7)), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        y = F.interpolate(self.up(self.conv(x)), size=(7, 11))
        return self.out(F.interpolate(y, size=x.shape[2:]))


LAYERS = [Signal, Pulse, Upsampler, Moves, Pools, Depthwise, Functional, FunctionalSignals]
LAYERS += [FunctionalTransposed, Stretched]

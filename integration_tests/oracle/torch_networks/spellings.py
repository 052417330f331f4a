"""Every spelling of every op without a weight, each between two convolutions of its own, in torch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Spellings(nn.Module):
    """Branches of convolution, op, convolution; an output for each."""

    shape = (2, 6, 6)
    without = ("generic-po2-per-channel", "torch-onednn", "torch-qnnpack")  # the other networks have them
    ops = ()

    def __init__(self):
        super().__init__()
        conv = nn.Conv1d if len(self.shape) == 2 else nn.Conv2d
        self.first = nn.ModuleList([conv(2, 4, 1) for _ in self.ops])
        self.last = nn.ModuleList([conv(4, 2, 1) for _ in self.ops])
        for index, op in enumerate(self.ops):
            setattr(self, f"op{index}", op() if isinstance(op, type) else op)

    def forward(self, x):
        return tuple(
            self.last[index](getattr(self, f"op{index}")(self.first[index](x))) for index in range(len(self.ops))
        )


class Rectified(Spellings):
    """ReLU, ReLU6 and hard-swish."""

    ops = (
        nn.ReLU,
        F.relu,
        torch.relu,
        lambda x: x.relu(),
        lambda x: x.relu_(),
        nn.ReLU6,
        F.relu6,
        nn.Hardswish,
        F.hardswish,
    )


class Clamped(Spellings):
    """Clamps by all their names, with one bound and with two."""

    ops = (
        lambda x: F.hardtanh(x, -2, 2),
        lambda x: F.hardtanh(x, min_val=-0.7, max_val=1.3),
        lambda x: F.hardtanh_(x),
        lambda x: torch.clamp(x, -1, 1),
        lambda x: x.clamp(min=-1.1),
        lambda x: torch.clip(x, max=0.6),
        lambda x: x.clamp_(0, 3),
        lambda x: x.clip(-0.3, 0.4),
    )


class Pooled(Spellings):
    """Pooling of images by all its names."""

    ops = (
        lambda x: F.max_pool2d(x, kernel_size=2),
        lambda x: torch.max_pool2d(x, 3, stride=2, padding=1),
        lambda x: F.avg_pool2d(x, 2),
        lambda x: F.avg_pool2d(x, kernel_size=(2, 2), stride=2),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        lambda x: F.adaptive_avg_pool2d(x, 1),
        lambda x: F.adaptive_avg_pool2d(x, (1, 1)),
        lambda x: x.mean((2, 3), keepdim=True),
        lambda x: torch.mean(x, (-1, -2), True),
    )


class PooledSignals(Spellings):
    """Pooling of signals by all its names."""

    shape = (2, 12)
    ops = (
        lambda x: F.max_pool1d(x, 2),
        lambda x: torch.max_pool1d(x, 3, 1, 1),
        lambda x: F.avg_pool1d(x, 4),
        lambda x: torch.avg_pool1d(x, (4,)),
        lambda x: F.adaptive_avg_pool1d(x, 1),
        lambda x: torch.adaptive_avg_pool1d(x, 1),
        lambda x: F.pad(x, (1, 2)),
        lambda x: torch.unsqueeze(x, -1).squeeze(-1),
    )


class Moved(Spellings):
    """Padding, slicing, nearest upsampling and reordering by all their names."""

    ops = (
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.interpolate(x, 12),
        lambda x: F.pad(x, (1, 2, 0, 1)),
        lambda x: F.pad(x, pad=(0, 1), mode="constant", value=0.0),
        lambda x: x[:, :, ::2, ::4],
        lambda x: x[:, :, 0::2, :],
        lambda x: torch.permute(x, (0, 1, 3, 2)),
        lambda x: x.transpose(2, 3),
        lambda x: torch.transpose(x, 3, 2),
        lambda x: torch.reshape(x, (-1, 4, 9, 4)),
        lambda x: x.view(-1, 4, 4, 9),
        lambda x: F.dropout(x, 0.5, training=False),
        lambda x: F.dropout2d(x, 0.5, training=False),
        lambda x: torch.squeeze(torch.flatten(x, 2).unsqueeze(-1).contiguous(), -1).unsqueeze(2),
    )


class Added(Spellings):
    """Adds by all their names."""

    ops = (
        lambda x: x + x,
        lambda x: torch.add(x, x),
        lambda x: x.add(x),
        lambda x: torch.add(input=x, other=x),
    )


class Modules(nn.Module):
    """The ops that are modules, in sequences."""

    shape = (2, 8, 8)

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Hardtanh(-0.8, 0.8), nn.ZeroPad2d((1, 2, 0, 1)))
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True), nn.ConstantPad2d((1, 0, 1, 0), 0.0))
        self.third = nn.Sequential(
            nn.Conv2d(4, 4, 2), nn.Upsample(scale_factor=2), nn.Identity(), nn.Upsample((28, 36))
        )
        self.lines = nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 4, 3), nn.ZeroPad1d(1), nn.ConstantPad1d((0, 2), 0.0))
        self.last = nn.Sequential(nn.Conv1d(4, 2, 3), nn.Dropout1d(0.1), nn.MaxPool1d(2), nn.Flatten(), nn.Softmax(1))
        self.nothing = nn.Identity()

    def forward(self, x):
        return self.last(self.lines(self.third(self.nothing(self.second(self.first(x))))))


SPELLINGS = [Rectified, Clamped, Pooled, PooledSignals, Moved, Added, Modules]

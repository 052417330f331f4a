"""Whole networks in torch: what real models are made of, one thing after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class Residual(nn.Module):
    """Convolutions, batch norms, a padded and subsampled shortcut, a residual add, pooling, a linear."""

    shape = (3, 9, 9)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.BatchNorm2d(12)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(x))
        x = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        x = F.avg_pool2d(x, x.size()[3])
        return self.fc(x.view(x.size(0), -1))


class Mobile(nn.Module):
    """Depthwise convolutions, ReLU6, hard-swish, a linear bottleneck with a residual; inputs of zero and more."""

    shape, positive, inductor = (3, 8, 8), True, True

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.expand = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.pool, self.drop, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.project(self.depthwise(self.expand(x)))
        return self.fc(self.drop(torch.flatten(self.pool(x), 1)))


class Branches(nn.Module):
    """A ReLU module used twice, a concat, max pooling, a batch norm alone, a grouped convolution, a float end."""

    shape = (2, 8, 8)

    def __init__(self):
        super().__init__()
        self.a, self.b, self.relu = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 4, 3, padding=1), nn.ReLU()
        self.pool, self.norm = nn.MaxPool2d(2), nn.BatchNorm2d(8)
        self.grouped, self.fc = nn.Conv2d(8, 8, 3, groups=2), nn.Linear(8 * 4, 3)

    def forward(self, x):
        x = torch.cat([self.relu(self.a(x)), self.b(x)], dim=1)
        x = self.relu(self.grouped(self.norm(self.pool(x))))
        return F.log_softmax(self.fc(x.flatten(1)), dim=1)


class Shared(nn.Module):
    """One block of convolution and batch norm called twice, and a linear called twice."""

    shape = (4, 6, 6)

    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.mix, self.fc = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        for _ in range(2):
            x = F.relu(self.bn(self.conv(x)))
        return self.fc(self.mix(self.mix(x.mean((2, 3)))))


class Embedded(nn.Module):
    """A constant added to every sample, a ReLU6 beside another reader, two outputs, one of them float."""

    shape = (2, 6, 6)

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.last, self.position = nn.Conv2d(8, 2, 1), nn.Parameter(torch.zeros(1, 4, 6, 6), False)

    def forward(self, x):
        y = self.first(x)
        z = self.second(F.relu(y)) + self.position
        return self.last(torch.cat([F.relu6(y), z], 1)), torch.sigmoid(y.mean((2, 3)))


class Crossed(nn.Module):
    """An encoder, a decoder with a transposed convolution, and the way across."""

    shape, inductor = (1, 8, 8), True

    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.up, self.out = nn.ConvTranspose2d(8, 4, 2, 2), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        across = F.relu(self.down1(x))
        return self.out(torch.cat([across, F.relu(self.up(F.relu(self.down2(across))))], 1))


class Tokens(nn.Module):
    """Linears on tensors of three axes, transposed and permuted in between."""

    shape = (5, 6)

    def __init__(self):
        super().__init__()
        self.features, self.positions, self.head = nn.Linear(6, 8), nn.Linear(5, 7), nn.Linear(56, 3)

    def forward(self, x):
        x = self.positions(F.relu(self.features(x)).transpose(1, 2))
        return self.head(x.permute(0, 2, 1).contiguous().reshape(x.size(0), -1))


class TwoInputs(nn.Module):
    """Two inputs and a dictionary of two outputs, of which one is float."""

    shape = ((2, 6, 6), (2, 6, 6))

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 3), nn.Conv2d(2, 4, 3), nn.Conv2d(4, 2, 1)

    def forward(self, x, y):
        a = self.a(x)
        return {"sum": self.c(a + F.relu(self.b(y))), "share": torch.sigmoid(a)}


class KeptFloat(nn.Module):
    """A part that is kept float between two linears (exact in float, so that codes are the same everywhere)."""

    shape, keep_float = (6,), ("act",)

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(6, 8), nn.LeakyReLU(0.25), nn.Linear(8, 3)

    def forward(self, x):
        return torch.softmax(self.last(self.act(self.first(x))), dim=1)


class Tied(nn.Module):
    """Two layers that hold one parameter, ops that overwrite their input, modules in a list."""

    shape = (4, 5, 5)

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)])
        self.layers[2].weight = self.layers[0].weight

    def forward(self, x):
        x = self.layers[0](x)
        y = F.relu_(x)
        z = self.layers[1](y + x)
        z.add_(y)
        return self.layers[2](torch.relu_(z))


class Norms(nn.Module):
    """Batch norms behind a linear, an input, an add and a transposed convolution."""

    shape = (3, 5, 5)

    def __init__(self):
        super().__init__()
        self.first, self.up = nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 4, 3, 2, 1, 1)
        self.up_norm, self.conv = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.sum_norm, self.mix, self.mix_norm = nn.BatchNorm2d(4, affine=False), nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.fc = nn.Linear(6, 2, bias=False)

    def forward(self, x):
        x = self.up_norm(self.up(self.first(x)))
        x = F.relu(self.sum_norm(self.conv(x) + x))
        return self.fc(F.relu(self.mix_norm(self.mix(x.mean((-1, -2))))))


class Sums(nn.Module):
    """Adds of equal and of broadcast shapes, of a tensor to itself, of the input."""

    shape = (4, 6, 6)

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 3, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        a = self.a(x)
        b = torch.add(self.b(self.pool(a)), a)
        b += x
        return self.c(F.relu(b + b.mean((2, 3), keepdim=True)))


class Concats(nn.Module):
    """Concats along channels, height and width, of one tensor twice, of the input, one behind the other."""

    shape = (2, 4, 6)

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(4, 3, 1)

    def forward(self, x):
        a, b = self.a(x), F.relu(self.b(x))
        rows = torch.cat((a, b), 2)
        columns = torch.concat([rows, torch.cat([b, x], dim=-2)], dim=-1)
        return self.c(torch.concatenate([columns, columns], 1))


class Block(nn.Module):
    """What Reused calls twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 3, 3, padding=1), nn.ReLU6()

    def forward(self, x):
        return self.act(self.conv(x)) + x


class Reused(nn.Module):
    """A block called twice, a signal of one dimension that is a transposed image, an output of zeros and more."""

    shape = (3, 4, 4)

    def __init__(self):
        super().__init__()
        self.block, self.drop, self.line = Block(), nn.Dropout2d(0.1), nn.Conv1d(3, 4, 3)

    def forward(self, x):
        x = self.drop(self.block(self.block(x)))
        return F.relu(self.line(x.flatten(2)))


BLOCKS = [Residual, Mobile, Branches, Shared, Embedded, Crossed, Tokens, TwoInputs, KeptFloat, Tied, Norms, Sums]
BLOCKS += [Concats, Reused]

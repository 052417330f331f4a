"""Small networks for the tests, one for each thing that real models do."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn


def settled(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model in eval mode with batch norms that have statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            with torch.no_grad():
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.2)
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                module.bias.copy_(torch.randn(module.num_features, generator=generator) * 0.2)
    return model.eval()


class Residual(nn.Module):
    """Convolutions, batch norms, a padded and subsampled shortcut, a residual add, pooling, a linear."""

    input_shape = (3, 9, 9)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(12)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(x))
        x = F.relu(y + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        x = F.avg_pool2d(x, x.size()[3])
        return self.fc(x.view(x.size(0), -1))


class Mobile(nn.Module):
    """Depthwise convolutions, ReLU6, hard-swish, a linear bottleneck with a residual, global pooling."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.expand = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.depthwise = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
        )
        self.project = nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.project(self.depthwise(self.expand(x)))
        return self.fc(self.drop(torch.flatten(self.pool(x), 1)))


class Branches(nn.Module):
    """A ReLU module used twice, a concat, max pooling, a grouped convolution, a second batch norm."""

    input_shape = (2, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 4, 1)
        self.b = nn.Conv2d(2, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.fc = nn.Linear(8 * 4, 3)

    def forward(self, x):
        x = torch.cat([self.relu(self.a(x)), self.b(x)], dim=1)
        x = self.norm(self.pool(x))
        x = self.relu(self.grouped(x))
        return F.log_softmax(self.fc(x.flatten(1)), dim=1)


class Shared(nn.Module):
    """One block of convolution and batch norm called twice."""

    input_shape = (4, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        for _ in range(2):
            x = F.relu(self.bn(self.conv(x)))
        return self.fc(x.mean((2, 3)))


class Signal(nn.Module):
    """One-dimensional and transposed convolutions, functional layers, a hardtanh."""

    input_shape = (2, 12)

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv1d(2, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm1d(6)
        self.up = nn.ConvTranspose1d(6, 4, 4, stride=2, padding=1)
        self.weight = nn.Parameter(torch.randn(3, 4, 3) * 0.3)
        self.head = nn.Parameter(torch.randn(5, 3 * 10) * 0.3)

    def forward(self, x):
        x = F.relu(self.norm(self.down(x)))
        x = F.hardtanh(self.up(x), -1.0, 1.0)
        x = F.conv1d(x, self.weight)
        return F.linear(x.reshape(x.shape[0], -1), self.head)


class Upsampler(nn.Module):
    """A transposed convolution in two dimensions, its batch norm, nearest upsampling."""

    input_shape = (3, 5, 5)

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.out = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.bn(self.up(x)))
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.out(x)


class Embedded(nn.Module):
    """A constant added to every sample, a ReLU6 beside another reader, two outputs, one of them float."""

    input_shape = (2, 6, 6)

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = nn.Conv2d(8, 2, 1)
        self.position = nn.Parameter(torch.randn(1, 4, 6, 6) * 0.2)

    def forward(self, x):
        y = self.first(x)
        z = self.second(F.relu(y)) + self.position
        return self.last(torch.cat([F.relu6(y), z], 1)), torch.softmax(y.mean((2, 3)), 1)


class Crossed(nn.Module):
    """An encoder, a decoder with a transposed convolution, and the way across."""

    input_shape = (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.down1 = nn.Conv2d(1, 4, 3, padding=1)
        self.down2 = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.out = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x):
        across = F.relu(self.down1(x))
        up = F.relu(self.up(F.relu(self.down2(across))))
        return self.out(torch.cat([across, up], 1))


class Gated(nn.Module):
    """SiLU, squeeze-and-excite with both sigmoids, a product with a ReLU behind it, and a square."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU())
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.gate = nn.Hardsigmoid()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        scale = F.adaptive_avg_pool2d(x, 1)
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(scale))))
        y = F.relu(torch.mul(self.conv(x), x))
        y = self.gate(F.adaptive_avg_pool2d(y, 1)) * y
        y = y.mul(y)
        return self.fc(y.mean((2, 3)))


class Scaled(nn.Module):
    """Normalizes inside; constants before, behind and between layers; differences; hard swish and sigmoid by hand."""

    input_shape = (3, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.1, -0.2, 0.3]))
        self.register_buffer("std", torch.tensor([0.5, 0.75, 1.25]))
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.wide, self.narrow = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.gamma = nn.Parameter(torch.linspace(0.5, 1.5, 8))
        self.fc, self.last = nn.Linear(8, 6), nn.Linear(6, 4)

    def forward(self, x):
        x = (x - self.mean[None, :, None, None]) / self.std.view(3, 1, 1)
        x = self.bn(self.stem(x) * 0.7)
        x = x * F.relu6(x + 3) / 6
        y = F.relu(self.wide(x)) * 1.5
        z = self.narrow(y - 0.75)
        gate = F.adaptive_avg_pool2d(z, 1)
        z = z * (F.relu6(self.squeeze(gate) + 3.0) * 0.16666667)
        y = 1.25 - (y - z) * self.gamma[:, None, None]
        y = self.fc((y - x).mean((2, 3)))
        return self.last(-(F.relu(y) / 3)) * 2 + 0.5


NETWORKS = [Residual, Mobile, Branches, Shared, Signal, Upsampler, Embedded, Crossed, Gated, Scaled]


def network(kind: type[nn.Module], samples: int = 6) -> tuple[nn.Module, torch.Tensor]:
    """A settled network of a kind, and random inputs for it, for tests that leave both as they are.

    All tests share them: a model is traced once for as long as nothing of it changes, which takes longer than most of
    what is done with it.
    """
    model, x, before = _built(kind, samples)
    now = (x, *model.state_dict().values())
    assert all(map(torch.equal, now, before)), f"a test has changed {kind.__name__}; let it take a copy"
    assert not any(module.training for module in model.modules()), f"a test has left {kind.__name__} in training"
    return model, x


@cache
def _built(kind: type[nn.Module], samples: int) -> tuple[nn.Module, torch.Tensor, list[torch.Tensor]]:
    """The network, its inputs, and copies of all its values."""
    torch.manual_seed(1)
    model, x = settled(kind()), torch.randn(samples, *kind.input_shape)
    return model, x, [value.clone() for value in (x, *model.state_dict().values())]

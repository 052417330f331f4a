"""Networks in torch at the sizes of their papers, whose weights are drawn."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNetV2's: expansion, channels, blocks, stride of the first."""


def _convolved(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]


class InvertedResidual(nn.Module):
    """Expand, convolve depthwise, project; with a shortcut where shapes allow one."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        expand = [] if expansion == 1 else [*_convolved(inputs, inside, 1), nn.ReLU6()]
        depthwise = [*_convolved(inside, inside, 3, stride, inside), nn.ReLU6()]
        self.conv = nn.Sequential(*expand, *depthwise, *_convolved(inside, outputs, 1))
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(nn.Module):
    """Sandler et al. (1801.04381), table 2, as torchvision has it; stages: see STAGES."""

    def __init__(
        self, classes: int = 1000, stages: tuple[tuple[int, int, int, int], ...] = STAGES, last: int = 1280
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_convolved(3, 32, 3, 2), nn.ReLU6()]
        channels = 32
        for expansion, outputs, blocks, stride in stages:
            for index in range(blocks):
                layers.append(InvertedResidual(channels, outputs, stride if index == 0 else 1, expansion))
                channels = outputs
        self.features = nn.Sequential(*layers, *_convolved(channels, last, 1), nn.ReLU6())
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))


class UNet(nn.Module):
    """Ronneberger et al. (1505.04597), padded and with norms; from deep to shallow by a transposed convolution, or by
    nearest upsampling and a convolution."""

    def __init__(self, transposed: bool, widths: tuple[int, ...] = (32, 64, 128, 256), classes: int = 3) -> None:
        super().__init__()
        inputs = (3, *widths[:-1])
        self.down = nn.ModuleList(self._twice(a, b) for a, b in zip(inputs, widths, strict=True))
        pairs = list(zip(widths[1:], widths[:-1], strict=True))[::-1]
        self.up = nn.ModuleList(self._up(deep, shallow, transposed) for deep, shallow in pairs)
        self.joined = nn.ModuleList(self._twice(2 * shallow, shallow) for _, shallow in pairs)
        self.last = nn.Conv2d(widths[0], classes, 1)

    @staticmethod
    def _twice(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(
            *_convolved(inputs, outputs, 3), nn.ReLU(), *_convolved(outputs, outputs, 3), nn.ReLU(inplace=True)
        )

    @staticmethod
    def _up(deep: int, shallow: int, transposed: bool) -> nn.Module:
        if transposed:
            return nn.ConvTranspose2d(deep, shallow, 2, 2)
        return nn.Sequential(nn.Upsample(scale_factor=2.0), nn.Conv2d(deep, shallow, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for index, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if index else x)
            kept.append(x)
        for up, join, beside in zip(self.up, self.joined, kept[-2::-1], strict=True):
            x = join(torch.cat([beside, up(x)], 1))
        return self.last(x)


def settled(model: nn.Module, shape: tuple[int, ...], passes: int = 3, batch: int = 16) -> nn.Module:
    """The model in eval mode, after so many passes of drawn images that gave its norms their statistics."""
    model.train()
    with torch.no_grad():
        for _ in range(passes):
            model(torch.randn(batch, *shape))
    return model.eval()

"""Networks for images of ImageNet's size, as torchvision defines them, and of CIFAR-10's; with weights drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.cifar import CifarResNet

CLASSES = 1000
NORM_PASSES, NORM_BATCH = 3, 16


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, and a batch norm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """What a body makes of x, and x or its projection beside it; a ReLU after both."""

    def __init__(self, body: nn.Module, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = body
        self.shortcut = conv_norm(inputs, outputs, 1, stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def basic_block(inputs: int, width: int, stride: int) -> Residual:
    """Of ResNet-18: two 3x3 convolutions."""
    body = nn.Sequential(conv_norm(inputs, width, 3, stride), nn.ReLU(), conv_norm(width, width, 3))
    return Residual(body, inputs, width, stride)


def bottleneck(inputs: int, width: int, stride: int) -> Residual:
    """Of ResNet-50: a 3x3 convolution between two 1x1 ones, four times as wide at its end."""
    layers = (conv_norm(inputs, width, 1), nn.ReLU(), conv_norm(width, width, 3, stride), nn.ReLU())
    return Residual(nn.Sequential(*layers, conv_norm(width, 4 * width, 1)), inputs, 4 * width, stride)


def resnet(block: Callable[[int, int, int], Residual], growth: int, depths: tuple[int, ...]) -> nn.Sequential:
    """A ResNet of blocks that are ``growth`` times as wide at their end as inside."""

    def blocks() -> Iterator[nn.Module]:
        inputs = 64
        for stage, depth in enumerate(depths):
            for index in range(depth):
                width = 64 * 2**stage
                yield block(inputs, width, 2 if stage and not index else 1)
                inputs = width * growth

    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512 * growth, CLASSES))
    return nn.Sequential(conv_norm(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), *blocks(), *head)


class InvertedResidual(nn.Module):
    """A 1x1 convolution that widens, a depthwise one, a 1x1 one that narrows; x added where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, kernel: int) -> None:
        super().__init__()
        inner = inputs * expansion
        wide = (conv_norm(inputs, inner, 1), nn.ReLU6()) if expansion > 1 else ()
        depthwise = (conv_norm(inner, inner, kernel, stride, groups=inner), nn.ReLU6())
        self.body = nn.Sequential(*wide, *depthwise, conv_norm(inner, outputs, 1))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def mobile(stages: tuple[tuple[int, int, int, int, int], ...]) -> nn.Sequential:
    """Inverted residuals between a stem and a head; a stage: expansion, channels, blocks, stride, kernel."""

    def blocks() -> Iterator[nn.Module]:
        inputs = 32
        for expansion, channels, count, stride, kernel in stages:
            for index in range(count):
                yield InvertedResidual(inputs, channels, 1 if index else stride, expansion, kernel)
                inputs = channels

    stem, last = (conv_norm(3, 32, 3, 2), nn.ReLU6()), (conv_norm(320, 1280, 1), nn.ReLU6())
    return nn.Sequential(*stem, *blocks(), *last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, CLASSES))


def mobilenet_v2() -> nn.Sequential:
    """1801.04381, of width 1."""
    settings = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    return mobile(tuple((*setting, 3) for setting in settings))


def efficientnet_lite0() -> nn.Sequential:
    """EfficientNet-B0 without squeeze and excitation, ReLU6 in place of swish."""
    first = ((1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3))
    return mobile((*first, (6, 112, 3, 1, 5), (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)))


def vgg11() -> nn.Sequential:
    """1409.1556, configuration A with batch norms, for 224 pixels, where the adaptive pooling does nothing."""
    layers: list[nn.Module] = []
    inputs = 3
    for width in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
        layers += [nn.MaxPool2d(2, 2)] if not width else [*conv_norm(inputs, width, 3), nn.ReLU()]
        inputs = width or inputs
    head = (nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, CLASSES))
    return nn.Sequential(*layers, nn.Flatten(), *head)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "mobilenet_v2": (mobilenet_v2, 128, 64),
    "resnet18": (lambda: resnet(basic_block, 1, (2, 2, 2, 2)), 128, 64),
    "resnet50": (lambda: resnet(bottleneck, 4, (3, 4, 6, 3)), 128, 64),
    "efficientnet_lite0": (efficientnet_lite0, 224, 200),
    "vgg11": (vgg11, 224, 32),
    "cifar_resnet20": (lambda: CifarResNet(3), 32, 256),
    "cifar_resnet56": (lambda: CifarResNet(9), 32, 256),
}
"""Name -> how to build it, pixels of a side, calibration images."""


def drawn(name: str) -> tuple[nn.Module, Tensor]:
    """A network with weights of seed 0 and norms that have seen noise, and calibration images [n, 3, side, side]."""
    build, side, count = NETWORKS[name]
    torch.manual_seed(0)
    model = build()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    with torch.no_grad():
        for _ in range(NORM_PASSES):
            model(images(NORM_BATCH, side))
    return model.eval(), images(count, side)


def images(count: int, side: int) -> Tensor:
    """Noise whose neighbouring pixels are much alike, as those of photographs are."""
    coarse = F.interpolate(torch.randn(count, 3, side // 8, side // 8), size=(side, side), mode="bilinear")
    return coarse + 0.25 * torch.randn(count, 3, side, side)

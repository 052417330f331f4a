"""Small networks in torch of every kind that people quantize: vision, detection, segmentation, restoration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = tuple[nn.Module, Any]
"""A network, and what it is called with: a tensor of images or signals, or a tuple of arguments."""
IMAGES = (4, 3, 32, 32)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: Any = nn.ReLU, **options: Any) -> nn.Module:
    """A convolution that keeps the size, its norm and its activation."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), act())


class Called(nn.Module):
    """Layers by name, and a function of them and of one tensor."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


class CalledWithTwo(Called):
    """A function of layers and two tensors."""

    def forward(self, x: Tensor, y: Tensor) -> Any:
        return self.function(self, x, y)


class CalledWithAny(Called):
    """A function of layers and any number of tensors, which torch.fx does not follow."""

    def forward(self, *x: Tensor) -> Any:
        return self.function(self, *x)


class UNet(nn.Module):
    """Two levels. up: from the lower to the upper one."""

    def __init__(self, up: nn.Module) -> None:
        super().__init__()
        self.down, self.low, self.up = conv(3, 8), conv(8, 16), up
        self.join, self.head = conv(16 + 8 if isinstance(up, nn.Upsample) else 16, 8), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        low = self.low(F.max_pool2d(skip, 2))
        return self.head(self.join(torch.cat([skip, self.up(low)], 1)))


def unet_transposed() -> Kind:
    return UNet(nn.ConvTranspose2d(16, 8, 2, 2)), torch.randn(IMAGES)


def unet_bilinear() -> Kind:
    return UNet(nn.Upsample(scale_factor=2, mode="bilinear")), torch.randn(IMAGES)


def unet_bilinear_aligned() -> Kind:
    return UNet(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)), torch.randn(IMAGES)


class C2f(nn.Module):
    """YOLOv8's block. listed: by list(chunk), as its authors write it; else by split."""

    def __init__(self, channels: int, listed: bool) -> None:
        super().__init__()
        self.half, self.listed = channels // 2, listed
        self.first, self.last = conv(channels, channels, 1, act=nn.SiLU), conv(channels * 2, channels, 1, act=nn.SiLU)
        self.blocks = nn.ModuleList(conv(self.half, self.half, act=nn.SiLU) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        parts = list(x.chunk(2, 1)) if self.listed else list(x.split((self.half, self.half), 1))
        parts.extend(block(parts[-1]) for block in self.blocks)
        return self.last(torch.cat(parts, 1))


class Yolo(nn.Module):
    """A backbone of two sizes, a neck that goes up, two heads, and the decoding of boxes."""

    def __init__(self, listed: bool, decodes: bool) -> None:
        super().__init__()
        self.stem, self.large = conv(3, 8, 3, 2, nn.SiLU), C2f(8, listed)
        self.down, self.small = conv(8, 16, 3, 2, nn.SiLU), C2f(16, listed)
        self.up, self.neck = nn.Upsample(scale_factor=2), C2f(24, listed)
        self.heads, self.decodes = nn.ModuleList([nn.Conv2d(24, 7, 1), nn.Conv2d(16, 7, 1)]), decodes

    def forward(self, x: Tensor) -> Any:
        large = self.large(self.stem(x))
        small = self.small(self.down(large))
        found = [self.heads[0](self.neck(torch.cat([large, self.up(small)], 1))), self.heads[1](small)]
        if not self.decodes:
            return found
        flat = torch.cat([y.flatten(2) for y in found], 2)
        boxes, classes = flat.split((4, 3), 1)
        center, size = boxes.chunk(2, 1)
        return torch.cat([center - size / 2, center + size / 2, classes.sigmoid()], 1)


def yolo_chunk() -> Kind:
    return Yolo(True, False), torch.randn(IMAGES)


def yolo_split_and_decode() -> Kind:
    return Yolo(False, True), torch.randn(IMAGES)


class Cross(nn.Module):
    """The block of YOLOv4-tiny: half of the channels through two convolutions, all of them joined, and pooled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        leaky = lambda: nn.LeakyReLU(0.1)  # noqa: E731
        self.first, half = conv(channels, channels, act=leaky), channels // 2
        self.a, self.b = conv(half, half, act=leaky), conv(half, half, act=leaky)
        self.join = conv(channels, channels, 1, act=leaky)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.first(x)
        a = self.a(x[:, x.shape[1] // 2 :])
        joined = self.join(torch.cat([self.b(a), a], 1))
        return joined, F.max_pool2d(torch.cat([x, joined], 1), 2)


class Yolov4Tiny(nn.Module):
    """Three blocks, and heads at two sizes."""

    def __init__(self) -> None:
        super().__init__()
        leaky = lambda: nn.LeakyReLU(0.1)  # noqa: E731
        self.stem = nn.Sequential(conv(3, 8, 3, 2, leaky), conv(8, 16, 3, 2, leaky))
        self.one, self.two = Cross(16), Cross(32)
        self.low, self.mid = conv(64, 32, act=leaky), conv(32, 16, 1, act=leaky)
        self.small, self.up = nn.Conv2d(32, 21, 1), nn.Upsample(scale_factor=2, mode="nearest")
        self.large = nn.Sequential(conv(48, 32, act=leaky), nn.Conv2d(32, 21, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        route, x = self.two(self.one(self.stem(x))[1])
        low = self.low(x)
        return self.small(low), self.large(torch.cat([self.up(self.mid(low)), route], 1))


def yolov4_tiny() -> Kind:
    return Yolov4Tiny(), torch.randn(4, 3, 64, 64)


class SqueezeNextBlock(nn.Module):
    """Two squeezes, two separated kernels, an expansion, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = inputs // 2

        def part(a: int, b: int, kernel: Any, s: int = 1) -> nn.Module:
            sides = tuple(n // 2 for n in kernel)
            return nn.Sequential(nn.Conv2d(a, b, kernel, s, sides), nn.BatchNorm2d(b), nn.ReLU())

        self.body = nn.Sequential(
            *(part(inputs, half, (1, 1), stride), part(half, half // 2, (1, 1)), part(half // 2, half, (1, 3))),
            *(part(half, half, (3, 1)), part(half, outputs, (1, 1))),
        )
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else part(inputs, outputs, (1, 1), stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


def squeezenext() -> Kind:
    blocks = [SqueezeNextBlock(*sizes) for sizes in ((16, 16, 1), (16, 32, 2), (32, 32, 1))]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    return nn.Sequential(conv(3, 16, 7, 2), nn.MaxPool2d(3, 2, 1), *blocks, *head), torch.randn(IMAGES)


class Residual(nn.Module):
    """MLPerf Tiny's block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(inputs, outputs, 3, stride), conv(outputs, outputs, act=nn.Identity))
        self.short = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


def resnet8() -> Kind:
    blocks = (conv(3, 16), Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2))
    return nn.Sequential(*blocks, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10)), torch.randn(IMAGES)


def visual_wake_words() -> Kind:
    widths = ((8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2))
    pairs = [nn.Sequential(conv(a, a, 3, s, groups=a), conv(a, b, 1)) for a, b, s in widths]
    return nn.Sequential(conv(3, 8, 3, 2), *pairs, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(64, 2)), torch.randn(IMAGES)


def squeeze_excite() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.body(x)
        gate = m.wide(F.relu(m.narrow(y.mean((2, 3), keepdim=True)))).sigmoid()
        return m.head((y * gate).flatten(2).mean(2))

    layers = {"body": conv(3, 16), "narrow": nn.Conv2d(16, 4, 1), "wide": nn.Conv2d(4, 16, 1)}
    return Called(run, **layers, head=nn.Linear(16, 5)), torch.randn(IMAGES)


def espcn() -> Kind:
    body = (nn.Conv2d(1, 16, 5, 1, 2), nn.Tanh(), nn.Conv2d(16, 8, 3, 1, 1), nn.Tanh(), nn.Conv2d(8, 4, 3, 1, 1))
    return nn.Sequential(*body, nn.PixelShuffle(2)), torch.randn(4, 1, 16, 16)


def edsr() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        y = first = m.head(x - m.mean)
        for block in m.blocks:
            y = y + block(y) * 0.1
        return m.tail(y + first) + m.mean

    def block() -> nn.Module:
        return nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1))

    tail = nn.Sequential(nn.Conv2d(16, 64, 3, padding=1), nn.PixelShuffle(2), nn.Conv2d(16, 3, 3, padding=1))
    model = Called(run, head=nn.Conv2d(3, 16, 3, padding=1), blocks=nn.ModuleList([block(), block()]), tail=tail)
    model.register_buffer("mean", torch.tensor([0.45, 0.44, 0.4]).reshape(1, 3, 1, 1))
    return model, torch.rand(4, 3, 16, 16)


def mtcnn() -> Kind:
    def run(m: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        y = m.body(x)
        return F.softmax(m.face(y), 1), m.box(y)

    body = (nn.Conv2d(3, 10, 3), nn.PReLU(10), nn.MaxPool2d(2, 2, ceil_mode=True), nn.Conv2d(10, 16, 3), nn.PReLU(16))
    return Called(run, body=nn.Sequential(*body), face=nn.Conv2d(16, 2, 1), box=nn.Conv2d(16, 4, 1)), torch.randn(
        4, 3, 25, 25
    )


def head_of_odd_sizes() -> Kind:
    head = (nn.AdaptiveAvgPool2d((3, 4)), nn.Flatten(), nn.Linear(8 * 12, 5))
    return nn.Sequential(conv(3, 8), nn.AvgPool2d(3, 2, 1, count_include_pad=False), *head), torch.randn(4, 3, 21, 19)


def pyramid_pooling() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.stem(x)
        parts = [y]
        for size, layer in zip((1, 2, 3, 6), m.parts, strict=True):
            pooled = layer(F.adaptive_avg_pool2d(y, size))
            parts.append(F.interpolate(pooled, y.shape[2:], mode="bilinear", align_corners=False))
        return F.interpolate(m.head(torch.cat(parts, 1)), size=(32, 32), mode="bilinear")

    parts = nn.ModuleList(conv(8, 4, 1) for _ in range(4))
    return Called(run, stem=conv(3, 8, 3, 2), parts=parts, head=nn.Conv2d(24, 2, 1)), torch.randn(IMAGES)


def normalization_inside() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.body((x / 255 - m.mean) / m.std)

    model = Called(run, body=nn.Sequential(conv(3, 8), nn.Conv2d(8, 4, 1)))
    for name, values in (("mean", [0.485, 0.456, 0.406]), ("std", [0.229, 0.224, 0.225])):
        model.register_buffer(name, torch.tensor(values)[:, None, None])
    return model, 255 * torch.rand(IMAGES)


class Standardized(nn.Conv2d):
    """A convolution whose weights have no mean and a variance of one."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.weight.mean((1, 2, 3), keepdim=True), self.weight.var((1, 2, 3), keepdim=True)
        return self._conv_forward(x, (self.weight - mean) / torch.sqrt(var + 1e-5), self.bias)


def weight_standardization() -> Kind:
    return nn.Sequential(Standardized(3, 8, 3), nn.ReLU(), Standardized(8, 4, 3)), torch.randn(IMAGES)


def group_norm() -> Kind:
    layers = (nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.SiLU(), nn.Conv2d(8, 4, 3))
    return nn.Sequential(*layers), torch.randn(IMAGES)


def instance_norm() -> Kind:
    layers = (nn.ReflectionPad2d(1), nn.Conv2d(3, 8, 3), nn.InstanceNorm2d(8, affine=True), nn.ReLU())
    return nn.Sequential(*layers, nn.Conv2d(8, 3, 3), nn.Tanh()), torch.randn(IMAGES)


VISION = (
    *(unet_transposed, unet_bilinear, unet_bilinear_aligned, yolo_chunk, yolo_split_and_decode, yolov4_tiny),
    *(squeezenext, resnet8, visual_wake_words, squeeze_excite, espcn, edsr, mtcnn, head_of_odd_sizes),
    *(pyramid_pooling, normalization_inside, weight_standardization, group_norm, instance_norm),
)

"""Small networks of the kinds that people quantize, which no zoo has: each with an example of what it takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.parametrizations import weight_norm

IMAGE, SIGNAL, WORDS = (3, 16, 16), (4, 24), 12


class Of(nn.Module):
    """Layers, and the function of them and the arguments that the network computes."""

    def __init__(self, function: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(self, *args)


def _conv(inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Two levels; the way up by a transposed convolution, or bilinear."""

    def __init__(self, bilinear: bool) -> None:
        super().__init__()
        self.down, self.deep, self.join = _conv(3, 8), _conv(8, 8), _conv(16, 8)
        self.up: nn.Module = (
            nn.Upsample(scale_factor=2, mode="bilinear") if bilinear else nn.ConvTranspose2d(8, 8, 2, 2)
        )
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.down(x)
        z = self.up(self.deep(F.max_pool2d(y, 2)))
        return self.last(self.join(torch.cat([y, z], 1)))


class C2f(nn.Module):
    """YOLO's block: halves, bottlenecks in a list that grows, all of them joined."""

    def __init__(self, channels: int, split: bool) -> None:
        super().__init__()
        self.first, self.last = _conv(channels, 8, 1), _conv(16, channels, 1)
        self.inside = nn.ModuleList([_conv(4, 4), _conv(4, 4)])
        self.split = split

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        parts = list(y.split((4, 4), 1) if self.split else y.chunk(2, 1))
        parts.extend(block(parts[-1]) for block in self.inside)
        return self.last(torch.cat(parts, 1))


class Yolo(nn.Module):
    """A backbone of two strides, a neck, and the decoding of boxes by the grid's own places."""

    def __init__(self, split: bool = False) -> None:
        super().__init__()
        self.stem, self.block = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU()), C2f(8, split)
        self.deeper, self.up = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.SiLU()), nn.Upsample(scale_factor=2)
        self.head = nn.ModuleList([nn.Conv2d(16, 6, 1), nn.Conv2d(8, 6, 1)])

    def forward(self, x: Tensor) -> Tensor:
        y = self.block(self.stem(x))
        z = self.deeper(y)
        maps = [head(t) for head, t in zip(self.head, [torch.cat([y, self.up(z)], 1), z], strict=True)]
        boxes = []
        for found in maps:
            batch, _, rows, columns = found.shape
            at = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"))
            place, size, scores = found.split((2, 2, 2), 1)
            boxes.append(torch.cat([place.sigmoid() + at, size.exp(), scores.sigmoid()], 1).reshape(batch, 6, -1))
        return torch.cat(boxes, 2)


class Causal(nn.Module):
    """TCN's block: dilated convolutions that see what was before, beside a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = weight_norm(nn.Conv1d(4, 4, 3, dilation=2)), nn.Conv1d(4, 4, 3, padding=8, dilation=4)
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.first(F.pad(x, (4, 0))))
        y = F.relu(self.second(y)[:, :, :-8])
        return self.last((x + y)[:, :, -1])


class Recurrent(nn.Module):
    """A convolution over signals, a recurrent layer, a linear one at the last step."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.conv, self.recurrent, self.last = nn.Conv1d(4, 6, 3), kind(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.recurrent(self.conv(x).relu().transpose(1, 2))
        return self.last(steps[:, -1])


class Cell(nn.Module):
    """A GRUCell over the steps of a signal, in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRUCell(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = x.new_zeros(x.shape[0], 5)
        for step in x[:, :, :4].unbind(2):
            state = self.cell(step, state)
        return self.last(state)


class Tied(nn.Module):
    """An autoencoder whose decoder multiplies with the encoder's weights, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.inside = nn.Linear(24, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inside(self.encode(x).relu()).relu()
        return F.linear(F.linear(y, self.inside.weight.t()).relu(), self.encode.weight.t())


class Attention(nn.Module):
    """A transformer's block by hand, before which the tokens get their places."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.norms = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8)])
        self.mlp, self.last = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(8, 3)
        self.place = nn.Parameter(torch.randn(1, 6, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.place
        batch, tokens, width = x.shape
        y = self.norms[0](x)
        q, k, v = (f(y).view(batch, tokens, 2, width // 2).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-2, -1) / math.sqrt(width // 2)).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, width))
        return self.last((x + self.mlp(self.norms[1](x))).mean(1))


class Text(nn.Module):
    """A text CNN: an embedding, convolutions of several widths, the largest of each."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(20, 6), nn.Linear(8, 3)
        self.convs = nn.ModuleList(nn.Conv1d(6, 4, width) for width in (2, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.words(x).transpose(1, 2)
        return self.last(torch.cat([conv(y).relu().amax(2) for conv in self.convs], 1))


class Standardized(nn.Conv2d):
    """A convolution whose weight has no mean and unit variance."""

    def forward(self, x: Tensor) -> Tensor:
        mean, deviation = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / (deviation + 1e-5), self.bias, self.stride, self.padding)


class Normalized(nn.Module):
    """Images are normalized inside, by buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.rand(3, 1, 1))
        self.register_buffer("deviation", torch.rand(3, 1, 1) + 0.5)
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv((x - self.mean) / self.deviation)


@dataclass
class Found:
    """What a network of two heads returns."""

    boxes: Tensor
    scores: Tensor | None = None


class Optional(nn.Module):
    """An argument that may be left out, and one that has to be given by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(24, 8), nn.Linear(24, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, other: Tensor) -> Tensor:
        y = self.a(x) + self.b(other)
        return self.last(y.relu() if mask is None else y.relu() * mask)


class NormsOfTheirOwn(nn.Module):
    """One convolution at two scales, each with a batch norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norms = nn.Conv2d(3, 3, 3, padding=1), nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

    def forward(self, x: Tensor) -> list[Tensor]:
        return [norm(self.conv(t)) for norm, t in zip(self.norms, (x, F.avg_pool2d(x, 2)), strict=True)]


def _pruned() -> nn.Module:
    layer = nn.Conv2d(3, 4, 3)
    prune.l1_unstructured(layer, "weight", 0.5)
    return nn.Sequential(layer, nn.ReLU(), nn.Conv2d(4, 2, 1))


class _Positive(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.abs()


def _parametrized() -> nn.Module:
    layer = nn.Conv2d(3, 4, 3)
    parametrize.register_parametrization(layer, "weight", _Positive())
    return nn.Sequential(layer, nn.ReLU(), nn.Conv2d(4, 2, 1))


def _excited(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.last(y * net.up(net.down(F.adaptive_avg_pool2d(y, 1)).relu()).sigmoid())


def _image(model: nn.Module) -> tuple[nn.Module, tuple[Any, ...]]:
    return model, (torch.randn(2, *IMAGE),)


def _signal(model: nn.Module) -> tuple[nn.Module, tuple[Any, ...]]:
    return model, (torch.randn(2, *SIGNAL),)


def _flat(model: nn.Module, inputs: int = 1) -> tuple[nn.Module, tuple[Any, ...]]:
    return model, tuple(torch.randn(2, 24) for _ in range(inputs))


def _heads(returned: Callable[[Tensor, Tensor], Any]) -> nn.Module:
    heads = {"conv": nn.Conv2d(3, 4, 3), "boxes": nn.Conv2d(4, 4, 1), "scores": nn.Conv2d(4, 2, 1)}
    return Of(lambda net, x: returned(net.boxes(net.conv(x).relu()), net.scores(net.conv(x))), **heads)


def _normed(norm: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 2, 1))


KINDS: dict[str, Callable[[], tuple[nn.Module, tuple[Any, ...]]]] = {
    "U-Net, transposed": lambda: _image(UNet(False)),
    "U-Net, bilinear": lambda: _image(UNet(True)),
    "YOLO, C2f by chunk": lambda: _image(Yolo()),
    "YOLO, C2f by split": lambda: _image(Yolo(split=True)),
    "DS-CNN": lambda: _image(
        nn.Sequential(_conv(3, 8), _conv(8, 8, groups=8), _conv(8, 8, 1), nn.Flatten(), nn.LazyLinear(3))
    ),
    "TCN, causal": lambda: _signal(Causal()),
    "CRNN": lambda: _signal(Recurrent(nn.RNN)),
    "LSTM": lambda: _signal(Recurrent(nn.LSTM)),
    "GRU": lambda: _signal(Recurrent(nn.GRU)),
    "GRUCell": lambda: _signal(Cell()),
    "autoencoder, tied weights": lambda: _flat(Tied()),
    "ESPCN": lambda: _image(
        nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.Tanh(), nn.Conv2d(8, 12, 3), nn.PixelShuffle(2))
    ),
    "EDSR": lambda: _image(
        Of(
            lambda n, x: n.up(n.head(x) + 0.1 * n.body(n.head(x))),
            head=nn.Conv2d(3, 8, 3, padding=1),
            body=nn.Sequential(_conv(8, 8), nn.Conv2d(8, 8, 3, padding=1)),
            up=nn.Sequential(nn.Conv2d(8, 12, 3), nn.PixelShuffle(2)),
        )
    ),
    "MTCNN, PReLU": lambda: _image(
        nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(8, 2, 1), nn.Softmax(1)
        )
    ),
    "nn.TransformerEncoder": lambda: (
        nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False),
        (torch.randn(2, 6, 8),),
    ),
    "transformer by hand": lambda: (Attention(), (torch.randn(2, 6, 8),)),
    "text CNN": lambda: (Text(), (torch.randint(20, (2, WORDS)),)),
    "squeeze-excite": lambda: _image(
        Of(_excited, conv=nn.Conv2d(3, 8, 3), down=nn.Conv2d(8, 2, 1), up=nn.Conv2d(2, 8, 1), last=nn.Conv2d(8, 2, 1))
    ),
    "normalization inside": lambda: _image(Normalized()),
    "weight standardization": lambda: _image(nn.Sequential(Standardized(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))),
    "parametrization": lambda: _image(_parametrized()),
    "pruning mask": lambda: _image(_pruned()),
    "group norm": lambda: _image(_normed(nn.GroupNorm(2, 4))),
    "instance norm": lambda: _image(_normed(nn.InstanceNorm2d(4))),
    "layer norm": lambda: _image(_normed(nn.LayerNorm([4, 14, 14]))),
    "several inputs and outputs": lambda: _flat(
        Of(lambda n, x, y: (n.b(n.a(x) + y[:, :8]), n.a(x)), a=nn.Linear(24, 8), b=nn.Linear(8, 3)), 2
    ),
    "dict output": lambda: _image(_heads(lambda a, b: {"boxes": a, "scores": b})),
    "dataclass output": lambda: _image(_heads(Found)),
    "keyword and optional inputs": lambda: (Optional(), (torch.randn(2, 24), None, torch.randn(2, 24))),
    "dict input": lambda: (
        Of(lambda n, batch: n.b(n.a(batch["x"]).relu() + batch["y"]), a=nn.Linear(24, 8), b=nn.Linear(8, 3)),
        ({"x": torch.randn(2, 24), "y": torch.randn(2, 8)},),
    ),
    "shared layers": lambda: _image(
        Of(lambda n, x: n.last(n.conv(n.conv(x).relu())), conv=nn.Conv2d(3, 3, 3), last=nn.Conv2d(3, 2, 1))
    ),
    "shared layers, norms of their own": lambda: _image(NormsOfTheirOwn()),
    "siamese": lambda: _flat(Of(lambda n, x, y: (n.a(x) - n.a(y)).abs().sum(1), a=nn.Linear(24, 8)), 2),
}

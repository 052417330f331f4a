"""Small networks in torch of every kind that people quantize: sequences, autoencoders, and ways to write a model."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.zoo.torch_kinds import IMAGES, Called, CalledWithAny, CalledWithTwo, Kind, conv

SIGNALS = (4, 8, 40)


def ds_cnn() -> Kind:
    pairs = [nn.Sequential(conv(16, 16, groups=16), conv(16, 16, 1)) for _ in range(3)]
    first = nn.Sequential(nn.Conv2d(1, 16, (10, 4), 2, (5, 1)), nn.BatchNorm2d(16), nn.ReLU())
    head = (nn.AvgPool2d((25, 5)), nn.Flatten(), nn.Linear(16, 12))
    return nn.Sequential(first, *pairs, *head), torch.randn(4, 1, 49, 10)


class Causal(nn.Module):
    """A residual block of a temporal network: dilated convolutions whose right end is cut off."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.cut = 2 * dilation
        self.a = nn.Conv1d(channels, channels, 3, padding=self.cut, dilation=dilation)
        self.b = nn.Conv1d(channels, channels, 3, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x)[:, :, : -self.cut])
        return F.relu(x + F.relu(self.b(F.pad(y, (self.cut, 0)))))


def tcn() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.body(x)[..., -1])

    body = nn.Sequential(nn.Conv1d(8, 16, 1), *(Causal(16, 2**n) for n in range(3)))
    return Called(run, body=body, head=nn.Linear(16, 5)), torch.randn(SIGNALS)


class First(nn.Module):
    """The outputs of a recurrent layer without its states."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


def crnn() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.body(x)
        return F.log_softmax(m.head(m.rnn(y.squeeze(2).permute(0, 2, 1))), 2)

    body = nn.Sequential(conv(1, 8), nn.MaxPool2d((2, 2)), conv(8, 16), nn.AvgPool2d((4, 1)))
    rnn = First(nn.LSTM(16, 8, bidirectional=True, batch_first=True))
    return Called(run, body=body, rnn=rnn, head=nn.Linear(16, 11)), torch.randn(4, 1, 8, 32)


def lstm() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(m.rnn(m.first(x))[:, -1])

    layers = {"first": nn.Linear(8, 12), "rnn": First(nn.LSTM(12, 10, 2, batch_first=True)), "head": nn.Linear(10, 4)}
    return Called(run, **layers), torch.randn(4, 9, 8)


def gru_with_state() -> Kind:
    def run(m: Any, x: Tensor, state: Tensor) -> Any:
        y, after = m.rnn(m.first(x), state.transpose(0, 1))
        return m.head(y), after.transpose(0, 1)

    layers = {"first": nn.Linear(8, 12), "rnn": nn.GRU(12, 10, batch_first=True), "head": nn.Linear(10, 4)}
    return CalledWithTwo(run, **layers), (torch.randn(4, 9, 8), torch.randn(4, 1, 10))


def gru_cell() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        state = torch.zeros_like(x[:, 0, :6])
        for step in range(3):
            state = m.cell(F.relu(m.first(x[:, step])), state)
        return m.head(state)

    return Called(run, first=nn.Linear(8, 12), cell=nn.GRUCell(12, 6), head=nn.Linear(6, 4)), torch.randn(4, 3, 8)


def lstm_cell() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        state = None
        for step in range(3):
            state = m.cell(F.relu(m.first(x[:, step])), state)
        return m.head(state[0])

    return Called(run, first=nn.Linear(8, 12), cell=nn.LSTMCell(12, 6), head=nn.Linear(6, 4)), torch.randn(4, 3, 8)


def anomaly_autoencoder() -> Kind:
    sizes = (64, 32, 32, 8, 32, 32)
    layers = [nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*layers, nn.Linear(32, 64)), torch.randn(16, 64)


def tied_autoencoder() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        code = F.relu(m.encoder(x))
        return F.linear(code, m.encoder.weight.t(), m.bias)

    model = Called(run, encoder=nn.Linear(24, 8))
    model.bias = nn.Parameter(torch.zeros(24))
    return model, torch.randn(16, 24)


def crepe() -> Kind:
    def layer(a: int, b: int, kernel: int, stride: int) -> nn.Module:
        sides = ((kernel - stride) // 2, kernel - stride - (kernel - stride) // 2)
        return nn.Sequential(
            *(nn.ConstantPad1d(sides, 0.0), nn.Conv1d(a, b, kernel, stride), nn.ReLU()),
            *(nn.BatchNorm1d(b), nn.MaxPool1d(2)),
        )

    body = nn.Sequential(layer(1, 16, 64, 4), layer(16, 8, 16, 1), layer(8, 8, 16, 1))
    return nn.Sequential(body, nn.Flatten(), nn.Linear(8 * 8, 36), nn.Sigmoid()), torch.randn(4, 1, 256)


def text_cnn() -> Kind:
    def run(m: Any, tokens: Tensor) -> Tensor:
        x = m.table(tokens).transpose(1, 2)
        return m.head(torch.cat([F.relu(branch(x)).amax(2) for branch in m.branches], 1))

    branches = nn.ModuleList(nn.Conv1d(12, 6, size) for size in (2, 3, 4))
    model = Called(run, table=nn.Embedding(50, 12), branches=branches, head=nn.Linear(18, 3))
    return model, torch.randint(0, 50, (8, 10))


def transformer_encoder() -> Kind:
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu")
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(8, 16), encoder, nn.Linear(16, 4)), torch.randn(4, 6, 8)


def transformer_by_hand() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.norm(x)
        q, k, v = m.qkv(y).reshape(-1, 6, 3, 4, 4).permute(2, 0, 3, 1, 4)
        shares = ((q @ k.transpose(-2, -1)) * 0.5).softmax(-1)
        x = x + m.out((shares @ v).transpose(1, 2).reshape(-1, 6, 16))
        return x + m.two(F.gelu(m.one(m.norm2(x))))

    layers = {"norm": nn.LayerNorm(16), "qkv": nn.Linear(16, 48), "out": nn.Linear(16, 16), "norm2": nn.LayerNorm(16)}
    return Called(run, **layers, one=nn.Linear(16, 32), two=nn.Linear(32, 16)), torch.randn(4, 6, 16)


def layer_norm() -> Kind:
    return nn.Sequential(nn.Linear(12, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 4)), torch.randn(16, 12)


def several_inputs_and_outputs() -> Kind:
    def run(m: Any, image: Tensor, extra: Tensor) -> Any:
        y = m.image(image).mean((2, 3))
        both = torch.cat([y, F.relu(m.extra(extra))], 1)
        return m.a(both), {"b": m.b(both), "features": y}

    layers = {"image": conv(3, 8), "extra": nn.Linear(5, 4), "a": nn.Linear(12, 2), "b": nn.Linear(12, 3)}
    return CalledWithTwo(run, **layers), (torch.randn(IMAGES), torch.randn(4, 5))


@dataclass
class Found:
    """What a detector returns."""

    scores: Tensor
    boxes: Tensor


def dataclass_output() -> Kind:
    def run(m: Any, x: Tensor) -> Found:
        y = m.body(x)
        return Found(m.scores(y), m.boxes(y))

    return Called(run, body=conv(3, 8), scores=nn.Conv2d(8, 2, 1), boxes=nn.Conv2d(8, 4, 1)), torch.randn(IMAGES)


class Optional(nn.Module):
    """A network with an input that may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mask, self.head = conv(3, 8), nn.Conv2d(1, 8, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0) -> Tensor:
        y = self.body(x)
        if mask is not None:
            y = y + self.mask(mask)
        return self.head(y * scale)


def optional_input_left_out() -> Kind:
    return Optional(), torch.randn(IMAGES)


def optional_input_given() -> Kind:
    return Optional(), (torch.randn(IMAGES), torch.randn(4, 1, 32, 32))


def shared_layers() -> Kind:
    def run(m: Any, x: Tensor) -> Tensor:
        y = m.stem(x)
        for _ in range(3):
            y = F.relu(m.again(y)) + y
        return m.head(y)

    return Called(run, stem=conv(3, 8), again=nn.Conv2d(8, 8, 3, padding=1), head=nn.Conv2d(8, 2, 1)), torch.randn(
        IMAGES
    )


def shared_layers_with_own_norms() -> Kind:
    def run(m: Any, x: Tensor) -> list[Tensor]:
        sizes = (x, F.max_pool2d(x, 2))
        return [m.head(F.relu(norm(m.tower(size)))) for norm, size in zip(m.norms, sizes, strict=True)]

    layers = {"tower": nn.Conv2d(3, 8, 3, padding=1, bias=False), "head": nn.Conv2d(8, 4, 1)}
    return Called(run, **layers, norms=nn.ModuleList(nn.BatchNorm2d(8) for _ in range(2))), torch.randn(IMAGES)


def siamese() -> Kind:
    def run(m: Any, a: Tensor, b: Tensor) -> Tensor:
        one, other = m.tower(a), m.tower(b)
        return m.head(torch.abs(one - other))

    tower = nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6))
    return CalledWithAny(run, tower=tower, head=nn.Linear(6, 1)), (torch.randn(IMAGES), torch.randn(IMAGES))


def embedding_distance() -> Kind:
    def run(m: Any, a: Tensor) -> Tensor:
        return F.normalize(m.tower(a), dim=1)

    tower = nn.Sequential(conv(3, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6))
    return Called(run, tower=tower), torch.randn(IMAGES)


STRUCTURES = (
    *(ds_cnn, tcn, crnn, lstm, gru_with_state, gru_cell, lstm_cell, anomaly_autoencoder, tied_autoencoder, crepe),
    *(text_cnn, transformer_encoder, transformer_by_hand, layer_norm, several_inputs_and_outputs, dataclass_output),
    *(optional_input_left_out, optional_input_given, shared_layers, shared_layers_with_own_norms, siamese),
    embedding_distance,
)

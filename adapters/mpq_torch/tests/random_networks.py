"""Networks drawn at random from what has an integer form, for statements about all of them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

INPUT_SHAPE = (3, 9, 8)


class RandomNetwork(nn.Module):
    """A chain of ``length`` ops drawn by a seed, some of which read earlier results again, and a linear at the end."""

    input_shape = INPUT_SHAPE

    def __init__(self, seed: int, length: int = 7) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.rng = np.random.default_rng(seed)
        self.layers = nn.ModuleList()
        self.constants = nn.ParameterList()
        self.plan = []
        x = torch.zeros(2, *INPUT_SHAPE)
        kept = [x]
        self._take(("layer", self._layer(nn.Conv2d(3, 6, 3, padding=1))), kept)
        for _ in range(length):
            drawn = getattr(self, f"_{self.rng.choice(OPS)}")(kept[-1])
            if drawn is not None:
                self._take(drawn, kept)
        head = self.rng.choice(["mean", "pool", "flat"])
        self._take((head, None), kept)
        self._take(("layer", self._layer(nn.Linear(kept[-1].shape[-1], 4))), kept)

    def _take(self, step, kept):
        with torch.no_grad():
            y = self._run(step, kept)
        if y.dim() == 2 or (min(y.shape[2:]) > 0 and max(y.shape[2:]) < 24):
            self.plan.append(step)
            kept.append(y)

    def _layer(self, layer):
        with torch.no_grad():
            if layer.bias is not None:
                layer.bias.mul_(float(self.rng.choice([0, 1, 20])))
        self.layers.append(layer)
        return len(self.layers) - 1

    def _pick(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def _conv(self, x):
        channels, kernel, dilation = x.shape[1], (self._pick(1, 2, 3), self._pick(1, 3)), self._pick(1, 1, 2)
        if any(dilation * (k - 1) >= n for k, n in zip(kernel, x.shape[2:], strict=True)):
            return None
        groups = self._pick(1, 1, channels, 2 if channels % 2 == 0 else 1)
        outputs = groups * self._pick(1, 2) if groups == channels else groups * self._pick(2, 3)
        padding = tuple(dilation * (k // 2) for k in kernel)
        layer = nn.Conv2d(
            channels, outputs, kernel, self._pick(1, 1, (2, 1)), padding, dilation, groups, self._pick(True, False)
        )
        return "layer", self._layer(layer)

    def _transposed(self, x):
        channels, stride = x.shape[1], self._pick(1, 2, (2, 3))
        groups = 2 if channels % 2 == 0 and self.rng.random() < 0.5 else 1
        extra = self._pick(0, 1) if stride != 1 else 0
        kernel, dilation = self._pick(2, 3, (3, 2)), self._pick(1, 1, 2)
        layer = nn.ConvTranspose2d(
            channels, groups * 2, kernel, stride, self._pick(0, 1), extra, groups, True, dilation
        )
        return "layer", self._layer(layer)

    def _shared(self, x):
        layer = self._layer(nn.Conv2d(x.shape[1], x.shape[1], 3, padding=1))
        return "twice", layer

    def _max(self, x):
        kernel = self._pick(2, 3)
        if min(x.shape[2:]) < kernel + 1:
            return None
        return "layer", self._layer_of(
            nn.MaxPool2d(kernel, self._pick(1, 2), self._pick(0, 1), ceil_mode=self._pick(True, False))
        )

    def _average(self, x):
        if min(x.shape[2:]) < 4:
            return None
        return "layer", self._layer_of(nn.AvgPool2d(3, 2, self._pick(0, 1), ceil_mode=self._pick(True, False)))

    def _layer_of(self, module):
        self.layers.append(module)
        return len(self.layers) - 1

    def _activation(self, x):
        low, high = sorted(float(v) for v in self.rng.uniform(-3, 3, 2))
        return "layer", self._layer_of(
            self._pick(nn.ReLU(), nn.ReLU6(), nn.Hardswish(), nn.Hardtanh(-abs(low), abs(high) + 0.1))
        )

    def _add(self, x):
        alike = [index for index, y in enumerate(self._kept) if y.shape == x.shape]
        return "add", int(self.rng.choice(alike))

    def _squeeze(self, x):
        return "squeeze", None

    def _constant(self, x):
        self.constants.append(nn.Parameter(torch.randn(1, *x.shape[1:]) * 0.5))
        return "constant", len(self.constants) - 1

    def _cat(self, x):
        alike = [index for index, y in enumerate(self._kept) if y.shape[2:] == x.shape[2:] and y.shape[1] < 12]
        return ("cat", int(self.rng.choice(alike))) if alike and x.shape[1] < 12 else None

    def _move(self, x):
        return self._pick("pad", "slice", "up", "turn"), None

    def _run(self, step, kept):
        self._kept = kept
        kind, which = step
        x = kept[-1]
        if kind == "layer":
            return self.layers[which](x)
        if kind == "twice":
            return self.layers[which](F.relu(self.layers[which](x)))
        if kind == "add":
            return F.relu(x + kept[which])
        if kind == "squeeze":
            return x + F.adaptive_avg_pool2d(x, 1)
        if kind == "constant":
            return x + self.constants[which]
        if kind == "cat":
            return torch.cat([x, kept[which]], 1)
        if kind == "pad":
            return F.pad(x, (1, 0, 0, 2))
        if kind == "slice":
            return x[:, :, ::2, ::2]
        if kind == "up":
            return F.interpolate(x, scale_factor=2.0, mode="nearest")
        if kind == "turn":
            return x.permute(0, 1, 3, 2)
        if kind == "mean":
            return x.mean((2, 3))
        if kind == "pool":
            return torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)
        return x.flatten(1)

    def forward(self, x):
        kept = [x]
        for step in self.plan:
            kept.append(self._run(step, kept))
        self._kept = []
        return kept[-1]


OPS = [
    "conv", "conv", "transposed", "shared", "max", "average", "activation", "activation", "add", "squeeze", "constant",
    "cat", "move", "move",
]  # fmt: skip

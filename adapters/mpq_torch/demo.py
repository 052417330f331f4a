"""The demo on torch: train a small network on digits, search, convert, verify."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from mpq_plugins.commands.digits import AVERAGE_BITS, CALIBRATION_IMAGES, DemoRow, digits
from mpq_plugins.costs.budget import Budget
from mpq_plugins.recipe.recipe import Recipe
from mpq_torch import fx
from mpq_torch.torch_ao.engine import quantized_engine

RUNTIME = "torch's x86 engine"
TARGET = "torch-x86"
EPOCHS = 12
BATCH = 32


class Residual(nn.Module):
    """Two convolutions and the way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """relu(x + body(x))."""
        return torch.relu(x + self.body(x))


def network() -> nn.Module:
    """The network of the demo, for images [N, 1, 8, 8]."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Residual(16),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        Residual(32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def train(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """A few epochs of Adam with a one-cycle rate."""
    optimizer = torch.optim.Adam(model.parameters())
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


def run(seed: int = 0) -> Iterator[tuple[DemoRow, Recipe]]:
    """Train once, then quantize at each average bit-width; yields rows as they are done."""
    data = digits()
    images, labels, test_images, test_labels = (
        torch.from_numpy(array) for array in (data.train_images, data.train_labels, data.test_images, data.test_labels)
    )
    images, test_images = images.unsqueeze(1), test_images.unsqueeze(1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network()
        train(model, images, labels)
    calibration = [images[:CALIBRATION_IMAGES]]
    float_bytes = 4.0 * sum(m.weight.numel() for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))
    for bits in AVERAGE_BITS:
        start = time.perf_counter()
        budget = Budget(average_weight_bits=bits)
        recipe = fx.search(model, calibration, TARGET, budget, activation_bits=8, progress=False)
        on_grid = fx.constrain(model, recipe, calibration)
        simulated = fx.simulate(on_grid, recipe)
        int8 = fx.quantize(on_grid, recipe, test_images[:1])
        seconds = time.perf_counter() - start
        verification = fx.verify(int8, simulated, test_images)
        verification.raise_if_different()
        with quantized_engine("x86"):
            converted = _accuracy(int8, test_images, test_labels)
        row = DemoRow(
            recipe.average_weight_bits,
            _accuracy(model, test_images, test_labels),
            _accuracy(simulated, test_images, test_labels),
            converted,
            f"exact ({verification.elements:,})",
            recipe.weight_bytes,
            float_bytes,
            seconds,
        )
        yield row, recipe


def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.no_grad():
        return 100.0 * float((model(images).argmax(1) == labels).float().mean())

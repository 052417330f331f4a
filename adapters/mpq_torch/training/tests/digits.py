"""A small network on digits, trained once for all tests, and a training loop as a user writes it."""

from __future__ import annotations

import copy
import functools
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpq_plugins.commands.digits import digits
from mpq_torch.demo import Residual


def network() -> nn.Module:
    """Convolutions with and without batch norm, a residual add, pooling, a linear; for images [N, 1, 8, 8]."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        Residual(8),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 10),
    )


@functools.cache
def _data() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    data = digits()
    images = (torch.from_numpy(part).unsqueeze(1) for part in (data.train_images, data.test_images))
    labels = (torch.from_numpy(part) for part in (data.train_labels, data.test_labels))
    return *images, *labels


def train_images() -> tuple[Tensor, Tensor]:
    """Images and labels to train on."""
    return _data()[0], _data()[2]


def test_images() -> tuple[Tensor, Tensor]:
    """Images and labels to score on."""
    return _data()[1], _data()[3]


@functools.cache
def _trained() -> nn.Module:
    torch.manual_seed(0)
    model = network().train()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(6):
        for x, y in batches(0):
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    return model.eval()


def trained() -> nn.Module:
    """The trained float network; a copy."""
    return copy.deepcopy(_trained())


@functools.cache
def batches(seed: int, size: int = 64) -> list[tuple[Tensor, Tensor]]:
    """One pass in random order."""
    images, labels = train_images()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return [(images[i], labels[i]) for i in order.split(size)]


def accuracy(model: nn.Module) -> float:
    """Share of the test images that are classified right."""
    images, labels = test_images()
    with torch.no_grad():
        return float((model(images).argmax(1) == labels).float().mean())


def run(search, steps: int, optimizer=None, first: int = 0):
    """Train for some steps; returns the optimizer."""
    optimizer = optimizer or torch.optim.SGD(search.parameter_groups(lr=0.005), momentum=0.9)
    stream = itertools.chain.from_iterable(map(batches, itertools.count()))
    for x, y in itertools.islice(stream, first, first + steps):
        loss = F.cross_entropy(search.model(x), y) + search.penalty()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        search.step()
    return optimizer

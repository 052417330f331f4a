"""What trainings on CIFAR-10 share: shifted and mirrored images in random order, a teacher, the loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cifar import MEAN, STD, load_model
from mpq_plugins.regularizers import distillation
from mpq_torch.ops import TORCH

BATCH = 128
BLACK = -(torch.tensor(MEAN) / torch.tensor(STD)).view(3, 1, 1)


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crops of the images padded by 4 black pixels, and flips of half of them.

    Black, as the checkpoints were trained: batches padded with zeros, which after normalization are the mean
    colour, move the statistics of batch norms away from those of whole images.
    """
    padded = F.pad(images - BLACK, (4, 4, 4, 4)) + BLACK
    offsets = torch.randint(0, 9, (len(images), 2), generator=generator)
    flips = torch.rand(len(images), generator=generator) < 0.5
    crops = [p[:, y : y + 32, x : x + 32] for p, (y, x) in zip(padded, offsets.tolist(), strict=True)]
    cropped = torch.stack(crops)
    cropped[flips] = cropped[flips].flip(-1)
    return cropped


def batches(images: Tensor, labels: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over the training set in random order."""
    order = torch.randperm(len(images), generator=generator)
    for start in range(0, len(images) - BATCH + 1, BATCH):
        chosen = order[start : start + BATCH]
        yield augmented(images[chosen], generator), labels[chosen]


def load_teacher(name: str, data: Path) -> Callable[[Tensor], Tensor]:
    """A pretrained network that gives soft labels: its norms folded, in bfloat16, which takes a third of the time."""
    model = load_model(name, data).bfloat16()
    with torch.no_grad():
        frozen = torch.jit.freeze(torch.jit.trace(model, torch.zeros(BATCH, 3, 32, 32, dtype=torch.bfloat16)))
    return lambda x: frozen(x.bfloat16()).float()


def loss_of(teacher: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Cross entropy with the labels, or with the softened outputs of a teacher (soft labels only)."""
    if teacher is None:
        return lambda x, outputs, labels: F.cross_entropy(outputs, labels)

    def distilled(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            aim = teacher(x)
        return distillation(TORCH, outputs, aim)

    return distilled

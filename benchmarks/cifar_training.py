"""What trainings on CIFAR-10 share: shifted and mirrored images in random order, a teacher, the loss, the loop."""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cifar import MEAN, STD, load_model
from mpq_plugins.training.regularizers import mixed_distillation
from mpq_torch import fx
from mpq_torch.array_ops.ops import TORCH

BATCH = 128
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of images, outputs and labels."""
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


def batches(
    images: Tensor, labels: Tensor, generator: torch.Generator, size: int = BATCH
) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over the training set in random order, ``size`` images at a time."""
    order = torch.randperm(len(images), generator=generator)
    for start in range(0, len(images) - size + 1, size):
        chosen = order[start : start + size]
        yield augmented(images[chosen], generator), labels[chosen]


def load_teacher(name: str, data: Path) -> Callable[[Tensor], Tensor]:
    """A pretrained network that gives soft labels: its norms folded, in bfloat16, which takes a third of the time."""
    model = load_model(name, data).bfloat16()
    with torch.no_grad():
        frozen = torch.jit.freeze(torch.jit.trace(model, torch.zeros(BATCH, 3, 32, 32, dtype=torch.bfloat16)))
    return lambda x: frozen(x.bfloat16()).float()


def loss_of(teacher: Callable[[Tensor], Tensor] | None, temperature: float = 1.0) -> Loss:
    """Cross entropy with the labels, or with the outputs of a teacher softened by a temperature (soft labels only)."""
    if teacher is None:
        return lambda x, outputs, labels: F.cross_entropy(outputs, labels)

    def distilled(x: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            aim = teacher(x)
        return mixed_distillation(TORCH, outputs, aim, outputs.new_zeros(()), 1.0, temperature)

    return distilled


def train(
    search: fx.Search,
    images: Tensor,
    labels: Tensor,
    loss_of_batch: Loss,
    total: int,
    lr: float,
    seed: int,
    weight_decay: float = 1e-4,
    clip: float = math.inf,
) -> Iterator[tuple[int, float]]:
    """``total`` steps of SGD under a one-cycle rate, each as its number, from 1, and its loss without penalties.

    clip: the largest norm of the gradient of all weights, biases and parameters of batch norms together.
    """
    generator = torch.Generator().manual_seed(seed)
    search.model.to(memory_format=torch.channels_last)
    groups = search.parameter_groups(lr, weight_decay=weight_decay)
    optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    network = [p for group in groups if not group["name"].startswith("quantizers") for p in group["params"]]
    rates = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=total, pct_start=0.2)
    started = time.perf_counter()
    passes = itertools.chain.from_iterable(batches(images, labels, generator) for _ in itertools.count())
    for step, (x, y) in enumerate(itertools.islice(passes, total), 1):
        loss = loss_of_batch(x, search.model(x), y)
        (loss + search.penalty()).backward()
        norm = torch.nn.utils.clip_grad_norm_(network, clip)
        optimizer.step()
        optimizer.zero_grad()
        search.step()
        schedule.step()
        if step % 100 == 0:
            spent = time.perf_counter() - started
            print(
                f"  step {step}/{total} loss {loss.item():.3f} gradient {norm:.3f} "
                f"bits {_mean_bits(search):.2f} {spent:.0f} s",
                flush=True,
            )
        yield step, loss.item()


def _mean_bits(search: fx.Search) -> float:
    """Of the weights, each counted once, at the last record of the search."""
    bits = search.history.last.bits if search.history.records else {}
    weights = [b for name, b in bits.items() if name.endswith(".weight")]
    return statistics.fmean(weights) if weights else 0.0

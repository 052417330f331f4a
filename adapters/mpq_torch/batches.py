"""Calibration data and example inputs, in any of the shapes in which people hold them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import EmptyCalibration, ModelError, NonFiniteValues

Batch = tuple[Any, ...]


def model_inputs(graph: fx.GraphModule) -> int:
    """Number of positional arguments that the model takes."""
    return sum(node.op == "placeholder" for node in graph.graph.nodes)


def most_arguments(model: nn.Module) -> int:
    """How many positional arguments a model takes at most, traced or not."""
    return (
        model_inputs(model) if isinstance(model, fx.GraphModule) else len(inspect.signature(model.forward).parameters)
    )


def as_batch(example: Any, arguments: int) -> Batch:
    """One batch as the model's positional arguments.

    A tensor is the one argument; of a tuple or list the first ``arguments`` are taken, so that the
    (images, labels) pairs of a DataLoader can be passed as they are. Raises NonFiniteValues, and
    ModelError for anything else (a dict, a NumPy array).
    """
    if not isinstance(example, (Tensor, tuple, list)):
        raise ModelError(
            f"a batch is a tensor, or a tuple of the model's arguments, and not a {type(example).__name__}; "
            "convert it before (torch.from_numpy, tuple(batch.values()))"
        )
    batch = (example,) if isinstance(example, Tensor) else tuple(example)[:arguments]
    for index, tensor in enumerate(batch):
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise NonFiniteValues(
                f"argument {index} of a calibration batch holds {bad} NaN or infinite values of {tensor.numel()}"
            )
    return batch


def as_batches(calibration: Iterable[Any] | Tensor, arguments: int) -> list[Batch]:
    """The calibration set as a list of batches; a single tensor is one batch.

    Raises EmptyCalibration when there is no sample in it.
    """
    examples = [calibration] if isinstance(calibration, Tensor) else calibration
    batches = [as_batch(example, arguments) for example in examples]
    batches = [batch for batch in batches if batch and _samples(batch)]
    if not batches:
        raise EmptyCalibration(
            "the calibration set is empty; pass an iterable of example inputs, some hundred samples in all "
            "(a generator that was used up before is empty too: pass a list)"
        )
    return batches


def _samples(batch: Batch) -> int:
    return max((len(t) for t in batch if isinstance(t, Tensor) and t.dim()), default=1)


def in_chunks(batches: Iterable[Batch], samples: int) -> list[Batch]:
    """The same samples in batches of at most ``samples``, where the arguments can be split."""
    chunks: list[Batch] = []
    for batch in batches:
        lengths = {len(t) for t in batch if isinstance(t, Tensor) and t.dim()}
        if len(lengths) != 1 or not all(isinstance(t, Tensor) and t.dim() for t in batch):
            chunks.append(batch)
            continue
        chunks.extend(zip(*(t.split(samples) for t in batch), strict=True))
    return chunks

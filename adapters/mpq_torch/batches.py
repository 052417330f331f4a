"""Calibration data and example inputs, in any of the shapes in which people hold them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Hashable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.calibration.chunks import CHUNK, cut
from mpq_plugins.calibration.holding import held
from mpq_plugins.errors import EmptyCalibration, ModelError, NonFiniteValues
from mpq_torch.reader.own_copy import unwrapped

Batch = tuple[Any, ...]


def model_inputs(graph: fx.GraphModule) -> int:
    """Number of positional arguments that the model takes."""
    return sum(node.op == "placeholder" for node in graph.graph.nodes)


def arguments_of(model: nn.Module) -> int:
    """How many positional arguments a model takes at most; of a batch with more, the rest are labels."""
    kinds = [p.kind for p in inspect.signature(unwrapped(model).forward).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return sys.maxsize
    return sum(kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds)


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
    # a tensor that was made in inference mode takes no part in autograd, its copy does
    return tuple(t.clone() if isinstance(t, Tensor) and t.is_inference() else t for t in batch)


def as_batches(calibration: Iterable[Any] | Tensor, arguments: int) -> list[Batch]:
    """The calibration set as a list of batches; a single tensor is one batch.

    Raises EmptyCalibration when there is no sample in it, CalibrationTooLarge where it has no end.
    """
    examples = [calibration] if isinstance(calibration, Tensor) else calibration
    batches = held((as_batch(example, arguments) for example in examples), _bytes_of)
    batches = [batch for batch in batches if batch and samples_of(batch)]
    if not batches:
        raise EmptyCalibration(
            "the calibration set is empty; pass an iterable of example inputs, some hundred samples in all "
            "(a generator that was used up before is empty too: pass a list)"
        )
    return batches


def _bytes_of(batch: Batch) -> int:
    return sum(t.numel() * t.element_size() for t in batch if isinstance(t, Tensor))


def samples_of(batch: Batch) -> int:
    """How many samples a batch holds: the longest first axis of its tensors, 1 if none has one."""
    return max((len(t) for t in batch if isinstance(t, Tensor) and t.dim()), default=1)


def in_chunks(batches: Iterable[Batch], samples: int = CHUNK) -> list[Batch]:
    """The same samples in chunks of ``samples``, where the arguments can be split (core: calibration.chunks)."""
    given = list(batches)
    chunks = []
    for pieces in cut([samples_of(batch) for batch in given], [_kind(batch) for batch in given], samples):
        parts = [
            given[p.batch] if _kind(given[p.batch]) is None else tuple(t[p.start : p.stop] for t in given[p.batch])
            for p in pieces
        ]
        chunks.append(parts[0] if len(parts) == 1 else tuple(torch.cat(ts) for ts in zip(*parts, strict=True)))
    return chunks


def _kind(batch: Batch) -> Hashable | None:
    """Shapes and types of one sample; None where the arguments cannot be split alike."""
    if not batch or not all(isinstance(t, Tensor) and t.dim() and len(t) == len(batch[0]) for t in batch):
        return None
    return tuple((t.shape[1:], t.dtype, t.device) for t in batch)

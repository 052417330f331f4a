"""Calibration data and example inputs, in any of the shapes in which people hold them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpq_plugins.errors import ModelError, MPQError, NonFiniteValues
from mpq_plugins.rounding.moments import chunks
from mpq_plugins.rounding.moments.holding import batches_in, check_some, held
from mpq_torch.calling.arguments import Takes, flat, rebuilt


class Batch(tuple[Any, ...]):
    """The arguments of a model in their order, those that have to be given by name last."""

    __slots__ = ()


def as_batch(example: Any, takes: Takes) -> Batch:
    """One batch as the model's arguments, in their order; those that have to be given by name come last.

    A tensor is the one argument; of a tuple or list the first ones are taken, so that the (images, labels) pairs of a
    DataLoader can be passed as they are. A mapping holds the arguments by name, and what names none of them is left;
    or, where its keys name no argument, it is itself the first one. Tensors go where the model is.

    Raises NonFiniteValues, and ModelError for anything else (a NumPy array), for arguments that are missing and for
    tensors without values.
    """
    if isinstance(example, Batch):
        return example
    batch = Batch(rebuilt(part, _as_leaf) for part in _arguments(example, takes))
    for index, tensor in enumerate(flat(batch)):
        if isinstance(tensor, Tensor) and tensor.is_meta:
            raise ModelError(f"argument {index} of a calibration batch is on the meta device and has no values")
        if isinstance(tensor, Tensor) and (tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized):
            what, way = ("quantized", "dequantize()") if tensor.is_quantized else ("sparse or nested", "to_dense()")
            raise ModelError(f"argument {index} of a calibration batch is {what}; pass plain tensors ({way})")
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise NonFiniteValues(
                f"argument {index} of a calibration batch holds {bad} NaN or infinite values of {tensor.numel()}"
            )
    return on_device(batch, takes.device)


def on_device(batch: Batch, device: torch.device | None) -> Batch:
    """The batch with its tensors there; None leaves them where they are."""
    return batch if device is None else Batch(rebuilt(part, partial(_moved, device)) for part in batch)


def _moved(device: torch.device, value: Any) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _arguments(example: Any, takes: Takes) -> tuple[Any, ...]:
    if isinstance(example, Tensor):
        example = (example,)
    if isinstance(example, Mapping):
        return _named(example, takes)
    if not isinstance(example, (tuple, list)):
        raise _not_taken(example)
    if example and isinstance(example[0], Mapping) and set(takes.names).intersection(example[0]):
        return _named(example[0], takes)
    batch = tuple(map(_as_dicts, example if takes.rest else tuple(example)[: len(takes.positional)]))
    by_name = [name for name in takes.named if name not in takes.defaults]
    if (batch and by_name) or (example and not takes.positional and takes.named):
        raise ModelError(
            f"the model takes {', '.join(by_name or takes.named)} by name only; let each batch be a dict of "
            "arguments by their names"
        )
    return batch


def _named(example: Mapping[str, Any], takes: Takes) -> tuple[Any, ...]:
    given = {name: _as_dicts(example[name]) for name in takes.names if name in example}
    if given:
        return takes.in_order(given)
    if not takes.positional or len(takes.required) > 1:
        raise ModelError(
            f"a batch holds {', '.join(map(str, example)) or 'nothing'}, and the model takes "
            f"{', '.join(takes.names) or 'nothing'}"
        )
    return (_as_dicts(example),)


def _as_dicts(value: Any) -> Any:
    """Mappings of other classes, at any depth, as dicts."""
    if isinstance(value, Mapping):
        return {key: _as_dicts(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_as_dicts, value))
    return value


def _as_leaf(value: Any) -> Any:
    """A tensor that was made in inference mode takes no part in autograd, its copy does."""
    if isinstance(value, np.ndarray):
        raise _not_taken(value)
    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


def _not_taken(value: Any) -> ModelError:
    return ModelError(
        "a batch is a tensor, a tuple of the model's arguments, or a dict of them by name, and not a "
        f"{type(value).__name__}; convert it before (torch.from_numpy)"
    )


def as_batches(calibration: Iterable[Any] | Tensor, takes: Takes) -> list[Batch]:
    """The calibration set as a list of batches; a single tensor, or a mapping, is one batch.

    Raises EmptyCalibration when there is no sample in it, CalibrationTooLarge where it has no end.
    """
    examples = [calibration] if isinstance(calibration, (Tensor, Mapping)) else batches_in(calibration)
    given = (as_batch(example, takes) for example in examples)
    batches = [batch for batch in held(given, _bytes_of) if batch and samples_of(batch)]
    check_some(batches, "an iterable of example inputs")
    return batches


def _bytes_of(batch: Batch) -> int:
    return sum(t.numel() * t.element_size() for t in flat(batch) if isinstance(t, Tensor))


def not_through(batch: Sequence[Any], error: Exception, way_out: str = "") -> ModelError:
    """What is said of a batch that does not go through a model. error: where it stopped."""
    given = ", ".join(str(tuple(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in flat(batch))
    reason = " ".join(str(error).split("\n")[0].split())[:200]
    return ModelError(f"inputs of the shape {given} do not go through the model: {reason}{way_out}")


@contextmanager
def going_through(batch: Sequence[Any]) -> Iterator[None]:
    """Raise ModelError where torch stops at a batch."""
    try:
        yield
    except MPQError:
        raise
    except (RuntimeError, ValueError) as error:
        raise not_through(batch, error) from error


def samples_of(batch: Sequence[Any]) -> int:
    """How many samples a batch holds: the longest first axis of its tensors, 1 if none has one."""
    return max((len(t) for t in flat(batch) if isinstance(t, Tensor) and t.dim()), default=1)


def in_chunks(batches: Iterable[Sequence[Any]], samples: int = chunks.CHUNK) -> list[tuple[Any, ...]]:
    """The same samples in chunks of ``samples``, where the arguments can be split (core: calibration.chunks).

    batches: of tensors and plain values in a row.
    """
    given = [tuple(batch) for batch in batches]
    return chunks.in_chunks(given, list(map(samples_of, given)), list(map(_kind, given)), samples, torch.cat)


def _kind(batch: Sequence[Any]) -> Hashable | None:
    """Shapes and types of one sample; None where the arguments cannot be split alike."""
    if not batch or not all(isinstance(t, Tensor) and t.dim() and len(t) == len(batch[0]) for t in batch):
        return None
    return tuple((t.shape[1:], t.dtype, t.device) for t in batch)

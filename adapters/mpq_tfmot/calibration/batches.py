"""Calibration data, in any of the shapes in which Keras users hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import EmptyCalibration, ModelError, NonFiniteValues
from mpq_plugins.graph.node import Node
from mpq_plugins.rounding.moments.chunks import CHUNK, cut
from mpq_plugins.rounding.moments.holding import held
from mpq_plugins.search.chunk import check_whole, only_size
from mpq_plugins.search.estimate import AtOnce, samples_to_measure
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.reading import Reading

Batch = tuple[NDArray[np.float32], ...]


def as_batch(example: Any, names: Sequence[str]) -> Batch:
    """One batch as the model's inputs, float32. names: of the inputs.

    An array is the one input, a mapping holds them by name; of a tuple or list the first ones are taken, so that
    (images, labels) pairs of a tf.data.Dataset can be passed as they are. Raises NonFiniteValues, ModelError.
    """
    parts = _parts(example, names)
    if len(parts) < len(names):
        raise ModelError(
            f"a calibration batch holds {len(parts)} arrays, and the model has {len(names)} inputs: {', '.join(names)}"
        )
    batch = tuple(_array(part, name) for part, name in zip(parts, names, strict=False))
    for index, array in enumerate(batch):
        if not np.all(np.isfinite(array)):
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            raise NonFiniteValues(
                f"input {index} of a calibration batch holds {bad} NaN or infinite values of {array.size}"
            )
    return batch


def _parts(example: Any, names: Sequence[str]) -> Sequence[Any]:
    if isinstance(example, Mapping):
        missing = [name for name in names if name not in example]
        if missing:
            raise ModelError(
                f"a calibration batch has nothing for the inputs {', '.join(missing)}; it has {', '.join(example)}"
            )
        return [example[name] for name in names]
    if not isinstance(example, (tuple, list)):
        return (example,)
    inside = isinstance(example[0], Mapping) or (len(names) > 1 and isinstance(example[0], (tuple, list)))
    return _parts(example[0], names) if example and inside else tuple(example)


def _array(part: Any, name: str) -> NDArray[np.float32]:
    try:
        return np.asarray(part, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"a calibration batch holds a {type(part).__name__} for input {name!r}, and no array of numbers: {error}"
        ) from None


def as_batches(calibration: Iterable[Any] | Any, inputs: Sequence[Node]) -> list[Batch]:
    """The calibration set as a list of batches; a single array, or a mapping of one for each input, is one batch.

    inputs: of the model. Raises EmptyCalibration when there is no sample, CalibrationTooLarge where it has no end, and
    ModelError when a batch does not fit the model.
    """
    names = [node.name for node in inputs]
    single = isinstance(calibration, (np.ndarray, Mapping)) or tf.is_tensor(calibration)
    examples = (as_batch(example, names) for example in ([calibration] if single else calibration))
    batches = held(examples, lambda batch: sum(array.nbytes for array in batch))
    batches = [batch for batch in batches if batch and len(batch[0])]
    if not batches:
        raise EmptyCalibration(
            "the calibration set is empty; pass an array of inputs or an iterable of batches, some hundred samples in "
            "all (a generator that was used up before is empty too: pass a list)"
        )
    for array, shape in zip(batches[0], [node.sample_shape for node in inputs], strict=True):
        if array.ndim != len(shape) + 1 or any(s not in (None, a) for a, s in zip(array.shape[1:], shape, strict=True)):
            raise ModelError(f"a calibration batch of shape {array.shape} does not fit an input of {(None, *shape)}")
    return batches


def as_arrays(given: Any, inputs: Sequence[Node]) -> Batch:
    """All samples as one batch. given: what ``as_batches`` takes, or a list of one array for each of several inputs."""
    rows = len(inputs) > 1 and isinstance(given, (list, tuple)) and len(given) == len(inputs)
    if rows and all(isinstance(part, np.ndarray) or tf.is_tensor(part) for part in given):
        given = [tuple(given)]
    return tuple(np.concatenate(arrays) for arrays in zip(*as_batches(given, inputs), strict=True))


def in_chunks(batches: Iterable[Batch], samples: int = CHUNK) -> list[Batch]:
    """The same samples in chunks of ``samples`` (core: calibration.chunks)."""
    given = list(batches)
    kinds = [tuple((array.shape[1:], array.dtype) for array in batch) for batch in given]
    chunks = []
    for pieces in cut([len(batch[0]) for batch in given], kinds, samples):
        parts = [tuple(array[p.start : p.stop] for array in given[p.batch]) for p in pieces]
        chunks.append(parts[0] if len(parts) == 1 else tuple(np.concatenate(a) for a in zip(*parts, strict=True)))
    return chunks


def as_chunks(
    calibration: Iterable[Any] | Any,
    reading: Reading,
    at_once: AtOnce = samples_to_measure,
    memory: int | None = None,
) -> list[tuple[Any, ...]]:
    """The calibration set as the chunks of tensors that the core measures on; raises as ``as_batches`` does.

    at_once: how many samples a chunk may hold, so that it fits into ``memory`` bytes, by default the machine's.
    """
    size = only_size(reading.graph, reading.batch_size)
    batches = as_batches(calibration, reading.graph.arguments)
    total = sum(len(batch[0]) for batch in batches)
    chunks = in_chunks(batches, size or at_once(reading.graph, total, memory))
    if size:
        check_whole([len(chunk[0]) for chunk in chunks], size)
    return [tuple(map(tf.constant, chunk)) for chunk in chunks]

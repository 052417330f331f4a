"""Calibration data, in any of the shapes in which Keras users hold them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.calibration.chunks import CHUNK, cut
from mpq_plugins.calibration.holding import held
from mpq_plugins.errors import EmptyCalibration, ModelError, NonFiniteValues
from mpq_plugins.search.chunk import samples_at_once
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.reading import Reading

Batch = tuple[NDArray[np.float32], ...]


def as_batch(example: Any, inputs: int) -> Batch:
    """One batch as the model's inputs, float32.

    An array is the one input; of a tuple or list the first ``inputs`` are taken, so that (images, labels)
    pairs of a tf.data.Dataset can be passed as they are. Raises NonFiniteValues, ModelError.
    """
    single = isinstance(example, np.ndarray) or tf.is_tensor(example)
    parts = (example,) if single else tuple(example)
    if (inputs > 1 and len(parts) == 1 and isinstance(parts[0], (tuple, list))) or (
        inputs > 1 and isinstance(parts[0], (tuple, list))
    ):
        parts = tuple(parts[0])
    if len(parts) < inputs:
        raise ModelError(f"a calibration batch holds {len(parts)} arrays, and the model has {inputs} inputs")
    batch = tuple(np.asarray(part, dtype=np.float32) for part in parts[:inputs])
    for index, array in enumerate(batch):
        if not np.all(np.isfinite(array)):
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            raise NonFiniteValues(
                f"input {index} of a calibration batch holds {bad} NaN or infinite values of {array.size}"
            )
    return batch


def as_batches(calibration: Iterable[Any] | Any, shapes: Sequence[tuple[int, ...]]) -> list[Batch]:
    """The calibration set as a list of batches; a single array is one batch.

    shapes: of the model's inputs for one sample. Raises EmptyCalibration when there is no sample, CalibrationTooLarge
    where it has no end, and ModelError when a batch does not fit the model.
    """
    single = isinstance(calibration, np.ndarray) or tf.is_tensor(calibration)
    examples = (as_batch(example, len(shapes)) for example in ([calibration] if single else calibration))
    batches = held(examples, lambda batch: sum(array.nbytes for array in batch))
    batches = [batch for batch in batches if batch and len(batch[0])]
    if not batches:
        raise EmptyCalibration(
            "the calibration set is empty; pass an array of inputs or an iterable of batches, some hundred samples in "
            "all (a generator that was used up before is empty too: pass a list)"
        )
    for array, shape in zip(batches[0], shapes, strict=True):
        if array.ndim != len(shape) + 1 or any(s not in (None, a) for a, s in zip(array.shape[1:], shape, strict=True)):
            raise ModelError(f"a calibration batch of shape {array.shape} does not fit an input of {(None, *shape)}")
    return batches


def in_chunks(batches: Iterable[Batch], samples: int = CHUNK) -> list[Batch]:
    """The same samples in chunks of ``samples`` (core: calibration.chunks)."""
    given = list(batches)
    kinds = [tuple((array.shape[1:], array.dtype) for array in batch) for batch in given]
    chunks = []
    for pieces in cut([len(batch[0]) for batch in given], kinds, samples):
        parts = [tuple(array[p.start : p.stop] for array in given[p.batch]) for p in pieces]
        chunks.append(parts[0] if len(parts) == 1 else tuple(np.concatenate(a) for a in zip(*parts, strict=True)))
    return chunks


def as_chunks(calibration: Iterable[Any] | Any, reading: Reading) -> list[tuple[Any, ...]]:
    """The calibration set as the chunks of tensors that the core measures on; raises as ``as_batches`` does."""
    shapes = [node.sample_shape for node in reading.graph.arguments]
    chunks = in_chunks(as_batches(calibration, shapes), samples_at_once(reading.graph))
    return [tuple(map(tf.constant, chunk)) for chunk in chunks]

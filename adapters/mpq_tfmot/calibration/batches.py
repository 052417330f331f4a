"""Calibration data, in any of the shapes in which Keras users hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError, NonFiniteValues
from mpq_plugins.graph.node import Node
from mpq_plugins.rounding.moments import chunks
from mpq_plugins.rounding.moments.holding import batches_in, check_some, held
from mpq_plugins.search.estimate import AtOnce, cut_to_fit, samples_to_measure
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.reading import Reading

Batch = tuple[NDArray[np.float32], ...]


def as_batch(example: Any, names: Sequence[str]) -> Batch:
    """One batch as the model's inputs, float32. names: of the inputs.

    An array is the one input, a mapping holds them by name; of a tuple or list the first ones are taken, so that
    (images, labels) pairs of a tf.data.Dataset can be passed as they are. Raises NonFiniteValues, ModelError.
    """
    batch = tuple(_array(part, name) for part, name in zip(_parts(example, names), names, strict=True))
    for index, array in enumerate(batch):
        if not np.all(np.isfinite(array)):
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            raise NonFiniteValues(f"input {index} of a batch holds {bad} NaN or infinite values of {array.size}")
    return batch


def as_tensors(example: Any, inputs: Sequence[Node]) -> tuple[Any, ...]:
    """The same as float32 tensors, whatever their values; those that are tensors may be symbols. Raises ModelError."""
    names = [node.name for node in inputs]
    parts = zip(_parts(example, names), names, strict=True)
    tensors = tuple(tf.cast(x, tf.float32) if tf.is_tensor(x) else tf.constant(_array(x, name)) for x, name in parts)
    check_fit(tensors, inputs)
    return tensors


def _parts(example: Any, names: Sequence[str]) -> Sequence[Any]:
    """What an example holds for each of the model's inputs."""
    if isinstance(example, Mapping):
        missing = [name for name in names if name not in example]
        if missing:
            raise ModelError(f"a batch has nothing for the inputs {', '.join(missing)}; it has {', '.join(example)}")
        return [example[name] for name in names]
    parts = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    if parts and (isinstance(parts[0], Mapping) or (len(names) > 1 and isinstance(parts[0], (tuple, list)))):
        return _parts(parts[0], names)
    if len(parts) < len(names):
        raise ModelError(
            f"a batch holds {len(parts)} arrays, and the model has {len(names)} inputs: {', '.join(names)}"
        )
    return parts[: len(names)]


def _array(part: Any, name: str) -> NDArray[np.float32]:
    try:
        if np.iscomplexobj(np.asarray(part)):
            raise TypeError("complex numbers have no place on a grid")
        with np.errstate(over="ignore"):  # numbers that float32 does not hold are refused as infinite
            return np.asarray(part, np.float32)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"a batch holds a {type(part).__name__} for input {name!r}, and no array of numbers: {error}"
        ) from None


def as_batches(calibration: Iterable[Any] | Any, inputs: Sequence[Node]) -> list[Batch]:
    """The calibration set as a list of batches; a single array, or a mapping of one for each input, is one batch.

    inputs: of the model. Raises EmptyCalibration when there is no sample, CalibrationTooLarge where it has no end, and
    ModelError when a batch does not fit the model.
    """
    names = [node.name for node in inputs]
    single = isinstance(calibration, Mapping) or hasattr(calibration, "__array__")
    if single or _one_for_each(calibration, inputs):
        calibration = [calibration]
    batches = held(
        (as_batch(example, names) for example in batches_in(calibration)),
        lambda batch: sum(array.nbytes for array in batch),
    )
    for index, batch in enumerate(batches):
        check_fit(batch, inputs, labels=index == 1 and isinstance(calibration, (tuple, list)))
    batches = [batch for batch in batches if batch and len(batch[0])]
    check_some(batches, "an array of inputs or an iterable of batches")
    return batches


def _one_for_each(given: Any, inputs: Sequence[Node]) -> bool:
    """Whether it is a row of an array for each of several inputs, as Keras' own predict takes it; none is a batch."""
    rows = len(inputs) > 1 and isinstance(given, (list, tuple)) and len(given) == len(inputs)
    return rows and all(hasattr(part, "__array__") for part in given)


def check_fit(batch: Sequence[Any], inputs: Sequence[Node], labels: bool = False) -> None:
    """Raise ModelError where arrays, or tensors, are no samples of a model with these inputs.

    labels: whether they may be those of the batch before.
    """
    for array, node in zip(batch, inputs, strict=True):
        shape, sample = tuple(array.shape), node.sample_shape
        if len(shape) == len(sample) + 1 and all(s in (None, a) for a, s in zip(shape[1:], sample, strict=True)):
            continue
        hint = ""
        if shape == sample:
            hint = ": it has no axis of samples; pass batches (array[None], dataset.batch(32))"
        elif len(sample) > 1 and shape[1:] == (sample[-1], *sample[:-1]):
            hint = ": channels come last in Keras (np.moveaxis(array, 1, -1))"
        elif labels:
            hint = ": pass what comes first alone, or a list of batches, [(images, labels)], if this holds labels"
        raise ModelError(f"a batch of shape {shape} does not fit an input of {(None, *sample)}{hint}")
    counts = [array.shape[0] for array in batch]
    if len(set(counts)) > 1:
        each = ", ".join(f"{count} of {node.name}" for count, node in zip(counts, inputs, strict=True))
        raise ModelError(f"a batch has as many samples for each input, and this one has {each}")


def in_chunks(batches: Iterable[Batch], samples: int = chunks.CHUNK) -> list[Batch]:
    """The same samples in chunks of ``samples`` (core: calibration.chunks)."""
    given = list(batches)
    kinds = [tuple((array.shape[1:], array.dtype) for array in batch) for batch in given]
    return chunks.in_chunks(given, [len(batch[0]) for batch in given], kinds, samples, np.concatenate)


def as_chunks(
    calibration: Iterable[Any] | Any,
    reading: Reading,
    at_once: AtOnce = samples_to_measure,
    memory: int | None = None,
) -> list[tuple[Any, ...]]:
    """The calibration set as the chunks of tensors that the core measures on; raises as ``as_batches`` does.

    at_once: how many samples a chunk may hold, so that it fits into ``memory`` bytes, by default the machine's.
    """
    batches = as_batches(calibration, reading.graph.arguments)
    found = cut_to_fit(
        reading.graph, reading.batch_size, batches, lambda batch: len(batch[0]), in_chunks, at_once, memory
    )
    return [tuple(map(tf.constant, chunk)) for chunk in found]

"""What an activation looked like before its method starts: a sample, kept in variables of the model.

The variables make it work wherever a model trains: in a tf.function, on several replicas, after a reload.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.slot import Slot
from mpq_tfmot.array_ops.ops import OPS
from mpq_tfmot.keras import tf

BATCHES = 16
"""The latest batches that a sample holds values of."""
PER_BATCH = 1024
"""Values of a batch, evenly spaced, the smallest and the largest among them."""
SMALLEST = 2.0**-60


def sample_shape() -> tuple[int, int]:
    """Shape of the variable that holds a sample."""
    return BATCHES, PER_BATCH


def observe(x: Any, variables: dict[str, Any], slot: Slot) -> None:
    """Add a batch to the sample, and widen the grid until it clips nothing that was seen."""
    flat = tf.reshape(tf.stop_gradient(x), [-1])
    spaced = PER_BATCH - 2
    index = tf.range(spaced, dtype=tf.int64) * tf.size(flat, tf.int64) // spaced
    extremes = tf.stack([tf.reduce_min(flat), tf.reduce_max(flat)])
    chunk = tf.concat([tf.gather(flat, index), extremes], 0)
    seen = tf.convert_to_tensor(variables["seen"])
    # an empty row repeats the batch, so that every row holds values that occurred
    row = tf.range(float(BATCHES))[:, None]
    here = tf.logical_or(tf.equal(row, seen % BATCHES), row >= seen)
    sample = tf.where(here, chunk, tf.convert_to_tensor(variables["sample"]))
    variables["sample"].assign(sample)
    variables["seen"].assign_add(1.0)
    largest = tf.reduce_max(tf.abs(sample) if slot.signed else sample)
    top = tf.math.ceil(OPS.log2(tf.maximum(largest, SMALLEST)))
    variables["steps"].assign(OPS.exp2(top - (slot.bits[-1] - slot.signed)))


def observed(variables: dict[str, Any], site: str, latest: bool = False) -> Histogram:
    """The sample as a method takes it; latest: of the last batch alone. Raises NonFiniteValues naming the site."""
    seen = int(variables["seen"].numpy())
    rows = _rows(variables["sample"].numpy(), seen)
    histogram = Histogram()
    try:
        if latest:
            histogram.update(rows[max(seen - 1, 0) % BATCHES])
        else:
            histogram.update(rows)
            histogram.moving = 0.0
            first = seen % BATCHES if seen > BATCHES else 0  # the oldest row
            histogram.follow(*np.abs(np.roll(rows, -first, axis=0)).max(axis=1).tolist())
    except NonFiniteValues as error:
        raise NonFiniteValues(f"site {site!r}: {error}") from None
    return histogram


def placeholder(signed: bool) -> Histogram:
    """A sample of nothing in particular, for a method to say what it will keep."""
    histogram = Histogram()
    histogram.update(np.linspace(-1.0 if signed else 0.0, 1.0, 65))
    return histogram


def _rows(sample: NDArray[np.float32], seen: int) -> NDArray[np.float32]:
    return sample[: max(1, min(seen, BATCHES))]

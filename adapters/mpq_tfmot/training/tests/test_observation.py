"""The sample of an activation: the latest batches, their extremes among them, and a grid that clips none of it."""

import numpy as np
import pytest

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.training.slot import Slot
from mpq_tfmot.keras import tf
from mpq_tfmot.training.observation import BATCHES, PER_BATCH, observe, observed, sample_shape

SLOT = Slot("fc", "activation", (4,), (Candidate(4, False, False), Candidate(8, False, False)))
SIGNED = Slot("fc", "activation", (4,), (Candidate(8, True, False),))


def variables():
    return {
        "seen": tf.Variable(0.0),
        "sample": tf.Variable(tf.zeros(sample_shape())),
        "steps": tf.Variable(1.0),
    }


def test_the_extremes_of_every_batch_are_in_its_sample():
    held = variables()
    x = np.random.default_rng(0).uniform(0, 1, (300, 40)).astype(np.float32)
    x[123, 7], x[4, 4] = 5.0, -3.0
    observe(tf.constant(x), held, SLOT)
    row = held["sample"].numpy()[0]
    assert (row.shape, row.max(), row.min()) == ((PER_BATCH,), 5.0, -3.0)
    assert np.isin(row, x).all()


def test_the_grid_of_most_bits_reaches_what_was_seen_and_no_octave_further():
    for slot, codes in ((SLOT, 255), (SIGNED, 127)):
        held = variables()
        observe(tf.constant([0.1, 1.5, -0.2]), held, slot)
        step = float(held["steps"])
        assert codes * step >= 1.5 > codes * step / 2


def test_batches_before_the_latest_are_forgotten():
    held = variables()
    for value in range(BATCHES + 3):
        observe(tf.fill([8], float(value)), held, SLOT)
    assert set(np.unique(held["sample"])) == set(range(3, BATCHES + 3))
    latest = observed(held, "fc", latest=True)
    assert (latest.min, latest.max) == (BATCHES + 2, BATCHES + 2)


def test_until_then_the_first_batch_stands_for_those_to_come():
    held = variables()
    observe(tf.constant([1.0, 2.0]), held, SLOT)
    observe(tf.constant([3.0, 4.0]), held, SLOT)
    histogram = observed(held, "fc")
    assert (histogram.min, histogram.max) == (1.0, 4.0)


def test_what_is_not_finite_is_refused_with_the_name_of_the_site():
    held = variables()
    observe(tf.constant([1.0, np.nan]), held, SLOT)
    with pytest.raises(NonFiniteValues, match="site 'fc'"):
        observed(held, "fc")

"""Calibration data of Keras users: one array, pairs with labels, mappings, datasets and generators."""

from __future__ import annotations

import numpy as np
import pytest

from mpq_plugins.errors import EmptyCalibration, ModelError, NonFiniteValues
from mpq_plugins.graph.node import ARGUMENT, Batch, Node
from mpq_tfmot.calibration.batches import as_batch, as_batches, in_chunks
from mpq_tfmot.keras import tf

IMAGES = Node("images", ARGUMENT, (), (Batch(), 2))
WORDS = Node("words", ARGUMENT, (), (Batch(), 3))


def rows(count: int, width: int, first: float = 0.0) -> np.ndarray:
    """[count, width], counted through."""
    return first + np.arange(count * width, dtype=np.float32).reshape(count, width)


@pytest.mark.parametrize(
    "example",
    [rows(4, 2), (rows(4, 2), np.zeros(4)), {"images": rows(4, 2), "labels": np.zeros(4)}, tf.constant(rows(4, 2))],
    ids=["an array", "a pair with labels", "a mapping", "a tensor"],
)
def test_one_input_is_taken_and_labels_are_left(example):
    (images,) = as_batch(example, ["images"])
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, rows(4, 2))


@pytest.mark.parametrize(
    "example",
    [
        (rows(4, 2), rows(4, 3)),
        ((rows(4, 2), rows(4, 3)), np.zeros(4)),
        ({"words": rows(4, 3), "images": rows(4, 2)}, np.zeros(4)),
    ],
    ids=["both", "both and labels", "a mapping and labels"],
)
def test_a_model_of_two_inputs_gets_both_in_its_order(example):
    images, words = as_batch(example, ["images", "words"])
    np.testing.assert_array_equal(images, rows(4, 2))
    np.testing.assert_array_equal(words, rows(4, 3))


def test_a_dataset_of_pairs_and_a_generator_calibrate():
    pairs = tf.data.Dataset.from_tensor_slices((rows(6, 2), np.zeros(6))).batch(4)
    assert [len(batch[0]) for batch in as_batches(pairs, [IMAGES])] == [4, 2]
    assert len(as_batches((rows(4, 2) for _ in range(3)), [IMAGES])) == 3


def test_a_list_of_an_array_for_each_input_is_one_batch():
    ((images, words),) = as_batches([rows(4, 2), rows(4, 3)], [IMAGES, WORDS])
    assert (images.shape, words.shape) == ((4, 2), (4, 3))


def test_batches_without_a_sample_are_left_out():
    assert len(as_batches([rows(0, 2), rows(4, 2)], [IMAGES])) == 1
    with pytest.raises(EmptyCalibration, match="used up"):
        as_batches(iter([]), [IMAGES])


def test_chunks_hold_the_samples_in_order_however_they_were_cut():
    chunks = in_chunks([(rows(3, 2),), (rows(4, 2, 6.0),)], samples=4)
    assert [len(chunk[0]) for chunk in chunks] == [4, 3]
    np.testing.assert_array_equal(np.concatenate([chunk[0] for chunk in chunks]), rows(7, 2))


@pytest.mark.parametrize(
    ("example", "sentence"),
    [
        ((rows(4, 2),), "holds 1 arrays, and the model has 2 inputs: images, words"),
        ({"images": rows(4, 2)}, "nothing for the inputs words; it has images"),
        ((rows(4, 2), "text"), "a str for input 'words'"),
    ],
)
def test_what_a_batch_lacks_is_named(example, sentence):
    with pytest.raises(ModelError, match=sentence):
        as_batch(example, ["images", "words"])


def test_nan_and_infinity_are_counted_and_located():
    images = rows(4, 2)
    images[0, 0], images[1, 1] = np.nan, np.inf
    with pytest.raises(NonFiniteValues, match="input 0 of a batch holds 2 NaN or infinite values of 8"):
        as_batch(images, ["images"])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (rows(4, 3), r"shape \(4, 3\) does not fit an input of \(None, 2\)"),
        ([rows(4, 2), rows(4, 3)], r"shape \(4, 3\) does not fit"),
        (rows(4, 2)[0], r"shape \(2,\) .* has no axis of samples; pass batches"),
        (tf.data.Dataset.from_tensor_slices(rows(4, 2)), "has no axis of samples; pass batches"),
        ((rows(4, 2), np.zeros(4)), r"shape \(4,\) .* if this holds labels"),
        ([()], "holds 0 arrays, and the model has 1 inputs"),
        (rows(4, 2) + 1j, "complex numbers"),
        ("images.npy", "not the path 'images.npy': load the file"),
        (rows, r"not a function: call it, and pass what rows\(\) gives"),
        (None, "not a NoneType"),
    ],
)
def test_data_that_the_model_does_not_take_are_refused_with_the_way_out(given, sentence):
    with pytest.raises(ModelError, match=sentence):
        as_batches(given, [IMAGES])


def test_channels_that_come_first_and_inputs_of_other_numbers_of_samples_are_named():
    with pytest.raises(ModelError, match=r"channels come last in Keras \(np.moveaxis"):
        as_batches(np.zeros((4, 3, 8, 8)), [Node("images", ARGUMENT, (), (Batch(), 8, 8, 3))])
    with pytest.raises(ModelError, match="4 of images, 2 of words"):
        as_batches([(rows(4, 2), rows(2, 3))], [IMAGES, WORDS])

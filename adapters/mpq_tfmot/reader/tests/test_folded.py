"""What depends on sizes and a model's own tensors alone is known; what depends on an argument is not."""

import numpy as np

from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.folded import Folding, with_values


def folded(make, shape=(4, 3)):
    """The folding of all calls of a model of one function, the tensors that it makes, and its last call."""
    inputs = keras.Input(shape)
    outputs = make(inputs)
    model = keras.Model(inputs, outputs)
    calls = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    calls = [node for node in calls if node.keras_inputs]
    folding = Folding()
    return folding, outputs, [folding.take(call) for call in calls], calls


def test_a_row_that_all_samples_share_is_known_for_one_of_them():
    folding, row, taken, _ = folded(lambda x: tf.ones_like(x) * 3.0 - 1.0)
    assert all(taken)
    np.testing.assert_array_equal(folding.sample(row), np.full((1, 4, 3), 2.0))
    assert folding.always(row) is None  # there are as many rows as samples


def test_a_size_that_is_not_the_batchs_is_always_the_same():
    folding, size, taken, _ = folded(lambda x: tf.shape(x)[1] + 1)
    assert all(taken)
    assert folding.always(size) == 5


def test_the_size_of_the_batch_is_not():
    folding, size, taken, _ = folded(lambda x: tf.shape(x)[0] * 2)
    assert all(taken)
    assert folding.always(size) is None


def test_what_an_argument_gives_is_no_constant():
    folding, y, taken, _ = folded(lambda x: x * 2.0)
    assert taken == [False]
    assert folding.always(y) is None
    assert folding.sample(y) is None


def test_random_numbers_are_none():
    folding, y, taken, _ = folded(lambda x: tf.random.uniform(tf.shape(x)))
    assert taken[-1] is False
    assert folding.sample(y) is None


def test_a_tensor_of_one_number_becomes_the_number_beside_one_of_the_outputs_shape():
    folding, _, _, calls = folded(lambda x: x + tf.ones_like(x))
    record = with_values(calls[-1], folding, broadcasts=True, masks=False)
    (symbol,) = record.keras_inputs
    assert symbol is calls[-1].keras_inputs[0]
    assert [a for a in (*record.call_args, *record.call_kwargs.values()) if isinstance(a, float)] == [1.0]

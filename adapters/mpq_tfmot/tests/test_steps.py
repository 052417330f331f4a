"""A step of a search in model.fit is one traced function and another after it; nothing is read back in between."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

from mpq_plugins import Budget
from mpq_plugins.errors import NonFiniteValues
from mpq_tfmot import QuantizeScheme, SearchCallback, quantize_scope
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.tests.training import FOLLOWS, SEARCHES, compiled
from mpq_tfmot.training.quantizers import GridQuantizer
from mpq_tfmot.training.tensor_bank import MOVE

BITS, BATCH = (2, 4, 8), 8


def dense(method, **options):
    """One dense layer under a method, compiled, and what it is called."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,), name="x"), keras.layers.Dense(4, name="fc")])
    scheme = QuantizeScheme(method=method, weight_bits=BITS if method in SEARCHES else 4)
    with quantize_scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        made = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    return compiled(made, run_eagerly=False, **options)


def fit(model, steps, *callbacks):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(steps * BATCH, 6)).astype(np.float32)
    model.fit(x, np.arange(len(x)) % 4, BATCH, verbose=0, callbacks=list(callbacks))


def callback(method, **options):
    return SearchCallback(Budget(average_weight_bits=4) if method in SEARCHES else None, observe=1, **options)


@pytest.fixture
def calls(monkeypatch):
    """The sites whose quantizers Python has called, in training."""
    found = []
    original = GridQuantizer.__call__

    def counted(self, x, training, weights, **kwargs):
        found.extend([self.slot.name] * bool(training))
        return original(self, x, training, weights, **kwargs)

    monkeypatch.setattr(GridQuantizer, "__call__", counted)
    return found


class Reads(keras.callbacks.Callback):
    """Counts, from the third step on, the tensors that are read."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.count, self.counting = 0, False
        self._supports_tf_logs = True  # else Keras reads the loss for it
        base = type(tf.constant(0.0)).__mro__[1]
        for name in ("numpy", "__array__", "__float__", "__int__", "__bool__"):
            monkeypatch.setattr(base, name, self.counted(getattr(base, name)))

    def counted(self, original):
        def read(*arguments, **options):
            self.count += self.counting
            return original(*arguments, **options)

        return read

    def on_train_batch_begin(self, batch, logs=None):
        self.counting = batch >= 2

    def on_train_batch_end(self, batch, logs=None):
        self.counting = False


SITES = ["fc", "fc.weight", "x.quantize"]


@pytest.mark.parametrize("method", [*SEARCHES, *FOLLOWS])
def test_a_stretch_of_training_is_traced_once_and_nothing_is_read_back_between_two_records(method, calls, monkeypatch):
    model = dense(method)
    calls.clear()
    search, reads = callback(method, steps=100, record_every=50), Reads(monkeypatch)
    fit(model, 5, search, reads)
    assert sorted(calls) == sorted(2 * SITES)  # while grids are observed, and from then on
    assert reads.count == 0
    assert [record.step for record in search.history.records] == [0, 5]


def test_xla_compiles_a_whole_step_without_python_in_it(calls):
    model = dense("hmq", jit_compile=True)
    calls.clear()
    fit(model, 3, callback("hmq", steps=100))
    assert sorted(calls) == sorted(2 * SITES)


class Inside(keras.layers.Layer):
    """Calls a model in a function that TensorFlow traces when Keras first asks for the layer's output."""

    def __init__(self, model):
        super().__init__()
        self.model, self.run = model, tf.function(lambda x: model(x, training=False))

    def call(self, x):
        return self.run(x)


def test_a_function_that_is_traced_while_keras_asks_for_shapes_is_quantized_all_the_same():
    inner = dense("msqe")
    x = keras.Input((6,))
    outer = keras.Model(x, Inside(inner)(x))
    values = tf.constant(np.random.default_rng(0).normal(size=(8, 6)), tf.float32)
    np.testing.assert_array_equal(outer(values), inner(values))


@pytest.mark.parametrize("kind", ["weight", "activation"])
@pytest.mark.parametrize("method", [*SEARCHES, *FOLLOWS])
def test_xla_compiles_forward_and_backward_of_every_method(method, kind):
    """As TensorFlow computes them, but for the order of sums."""
    bits, x = BITS if method in SEARCHES else 4, tf.constant(np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4))
    eager, whole = (_forward_and_backward(method, bits, kind == "weight") for _ in range(2))
    for got, wanted in zip(tf.function(whole, jit_compile=True)(x), eager(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def _forward_and_backward(method, bits, weight):
    """A function of x that gives what a quantizer makes of it, and the gradients to x and to what is learned."""
    wrapper = keras.layers.Layer()
    wrapper.layer = keras.layers.Layer(name="fc")
    wrapper.layer.kernel = np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4)
    quantizer = GridQuantizer(bits, weight=weight, method=method, phase="training")
    variables = quantizer.build((6, 4), "kernel" if weight else "output", wrapper)
    learned = [v for key, v in variables.items() if key.startswith(MOVE)]

    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = quantizer(x, True, variables)
        return y, *(g for g in tape.gradient(y, [x, *learned], tf.cos(x)) if g is not None)

    return step


def test_values_that_are_not_finite_are_named_with_their_step_at_the_next_record():
    model = dense("msqe")
    compiled(model)  # eager
    x = np.ones((6 * BATCH, 6), np.float32)
    x[2 * BATCH] = np.inf
    search = callback("msqe", steps=100, record_every=5)
    with pytest.raises(NonFiniteValues, match=r"step 2: NaN or infinite values, first at site 'x'"):
        model.fit(x, np.arange(len(x)) % 4, BATCH, verbose=0, shuffle=False, callbacks=[search])
    assert search._done == 6

"""What a search refuses of Keras models: by name, all at once, with the way out."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

import mpq_plugins as mpq
import mpq_tfmot
from integration_tests.reading.converting_keras import X, behind, error_of, exact, refused
from mpq_plugins.graph.recurrence import MOST_STEPS
from mpq_tfmot.keras import keras, tf

layers = keras.layers


CHANNELS_FIRST = (
    layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.AveragePooling2D, layers.UpSampling2D,
    layers.Cropping2D, layers.ZeroPadding2D, layers.Flatten,
)  # fmt: skip


def test_layers_of_channels_first_are_refused_by_name():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 4))
    y = layers.Conv2D(4, 1)(inputs)
    ends = [layers.Flatten()(kind(data_format="channels_first", name=kind.__name__)(y)) for kind in CHANNELS_FIRST]
    model = keras.Model(inputs, layers.Dense(2)(layers.Concatenate()(ends)))
    names = refused(model, "litert-po2", X[:, :4, :4, [0, 1, 2, 0]]).names
    assert sorted(names) == sorted(kind.__name__ for kind in CHANNELS_FIRST)


def test_places_of_what_float_kernels_compute_are_refused():
    inputs = keras.Input((9, 9, 3))
    shares = layers.Conv2D(4, 1, activation="softmax")(inputs)
    (name,) = refused(keras.Model(inputs, tf.argmax(shares, -1)), "litert-po2").names
    assert name.startswith("tf.math.argmax")


class Trains(layers.Layer):
    """A user's layer whose norm always trains."""

    def __init__(self):
        super().__init__(name="own")
        self.norm = layers.BatchNormalization(name="norm")

    def call(self, x):
        return self.norm(x, training=True)


TRAINING = {
    "norm": lambda y: layers.BatchNormalization(name="norm")(y, training=True),
    "drop": lambda y: layers.Dropout(0.5, name="drop")(y, training=True),
    "flip": lambda y: layers.RandomFlip(name="flip")(y, training=True),
    "inner.norm": lambda y: keras.Sequential(
        [keras.Input((9, 9, 4)), layers.BatchNormalization(name="norm")], name="inner"
    )(y, training=True),
    "own.norm": lambda y: Trains()(y),
}


@pytest.mark.parametrize("name", TRAINING)
def test_a_layer_that_is_told_to_train_at_every_call_is_refused(name):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 9, 3))
    model = keras.Model(inputs, layers.Conv2D(2, 1)(TRAINING[name](layers.Conv2D(4, 1)(inputs))))
    found = refused(model, "litert-po2")
    assert found.names == (name,)
    assert "call it without" in str(found)


def test_what_training_does_not_change_may_be_told_to_train():
    frozen = layers.BatchNormalization(trainable=False)
    exact(behind(lambda y: layers.Dropout(0)(frozen(y, training=True), training=True)))


def test_everything_that_is_refused_is_named_at_once_with_the_list_to_paste_and_what_it_costs():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((9, 9, 4)),
            layers.Conv2D(4, 1, name="first"),
            layers.Lambda(lambda x: tf.math.cumprod(x, -1), name="norm"),
            layers.LocallyConnected2D(4, 3, use_bias=False, implementation=2, name="longer"),
            layers.Conv2D(2, 1, name="last"),
        ]
    )
    x = np.random.default_rng(0).normal(size=(8, 9, 9, 4)).astype(np.float32)
    error = refused(model, "generic-po2", x)
    assert error.names == ("norm", "longer")
    macs = {"first": 81 * 16, "longer": 81 * 4 * 49 * 4, "last": 49 * 8}
    share = f"{100 * macs['longer'] / sum(macs.values()):.3g} % of the multiply-accumulates"
    assert f"keep_float=['norm', 'longer'] to leave them in float arithmetic, and {share}" in str(error)
    recipe = mpq_tfmot.search(
        model, x, "generic-po2", weight_bits=8, activation_bits=8, keep_float=error.names, progress=False
    )
    assert recipe.float_weights["longer"] == 81 * 4 * 49 * 4
    assert "The target's runtime has nothing that computes norm, longer in float" in str(
        refused(model, "litert-po2", x)
    )


def test_a_layer_of_several_outputs_is_refused_by_name_and_may_stay_float():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((MOST_STEPS + 1, 8))
    model = keras.Model(inputs, layers.Dense(2)(layers.LSTM(4, return_sequences=True, return_state=True)(inputs)[0]))
    x = np.random.default_rng(0).normal(size=(16, *inputs.shape[1:])).astype(np.float32)
    error = refused(model, "generic-po2", x)
    assert error.names[1] == f"{error.names[0]}.output0"
    recipe = mpq_tfmot.search(
        model, x, "generic-po2", weight_bits=8, activation_bits=8, keep_float=error.names[:1], progress=False
    )
    on_grid = mpq_tfmot.constrain(model, recipe, x)
    assert error_of(model, on_grid, recipe, x) < 0.05


def test_an_input_of_open_size_is_refused_with_the_way_out():
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3), layers.GlobalAveragePooling2D()])
    with pytest.raises(mpq.ModelError, match=r"open shape \(None, None, None, 3\).*keras\.Input of whole sizes"):
        mpq_tfmot.search(model, X, "litert-po2", weight_bits=8, activation_bits=8)


def test_a_model_of_which_some_layers_are_annotated_is_refused_with_the_layers():
    model = keras.Sequential(
        [keras.Input((9, 9, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3, name="fc")]
    )
    annotate = tfmot.quantization.keras.quantize_annotate_layer

    def some(layer):
        own = mpq_tfmot.QuantizeConfig(weight_bits=3)
        return annotate(layer, own) if isinstance(layer, layers.Conv2D) else layer

    with mpq_tfmot.quantize_scope():
        annotated = keras.models.clone_model(model, clone_function=some)
        trained = tfmot.quantization.keras.quantize_apply(annotated, mpq_tfmot.QuantizeScheme(weight_bits=8))
    trained.compile("adam", "mse", run_eagerly=True)
    trained.fit(X, np.zeros((16, 3)), verbose=0)
    with pytest.raises(mpq.ModelError, match=r"fc\.weight.*leaves out what is not annotated.*quantize_annotate_model"):
        mpq_tfmot.harden(trained)

"""What a Keras engineer does with ONNX: the same file format, exact against mpq_tfmot's simulation."""

import numpy as np
import pytest

import mpq_plugins as mpq
from integration_tests.bits import widest
from integration_tests.onnx.saturation import check_products
from integration_tests.tfmot.recipes import clipping_recipe
from mpq_plugins.exporters.onnx.running import load, run, session
from mpq_tfmot import constrain, integers, litert, onnx, search, simulate, to_onnx, verify_integers, verify_onnx
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.tests.networks import NETWORKS, network, samples, settled

TARGET = "onnxruntime"
TRANSPOSED = "branches"
"""The network whose transposed convolution has one step only."""


def check(model, x, recipe, **options):
    check_products(recipe)
    content, simulated = onnx.export(model, recipe, **options), simulate(model, recipe)
    for optimized in (True, False):
        onnx.verify(content, simulated, x * 2, optimized=optimized).raise_if_different()
    return content, simulated


@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_pair_of_bits_is_exact_on_a_depthwise_network(weight_bits):
    model = network("mobile")
    x = samples(model, count=5)
    for activation_bits in range(2, 9):
        per_channel = (weight_bits + activation_bits) % 2 == 0
        recipe = clipping_recipe(model, x, TARGET, weight_bits, activation_bits, per_channel)
        check(model, x, recipe, symmetric=per_channel, opset=25 if weight_bits == 2 else 21)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(widest(TARGET), 8), (2, 3), (5, 6)])
def test_every_kind_of_network_is_exact(kind, weight_bits, activation_bits):
    model = network(kind)
    x = samples(model)
    for per_channel in (False, kind != TRANSPOSED):
        check(model, x, clipping_recipe(model, x, TARGET, weight_bits, activation_bits, per_channel))


@pytest.mark.parametrize("kind", ["mobile", TRANSPOSED, "series"])
def test_the_integer_program_of_the_recipe_says_the_same(kind):
    model = network(kind)
    x = samples(model)
    recipe = clipping_recipe(model, x, TARGET, 4, 4)
    verify_integers(integers(model, recipe), model, recipe, x).raise_if_different()


def test_strides_dilation_and_same_padding_are_keras_own():
    layers = keras.layers
    x = inputs = keras.Input((11, 14, 3))
    x = layers.Conv2D(6, 3, strides=(2, 3), padding="same", activation="relu", name="strided")(x)
    x = layers.Conv2D(6, 3, dilation_rate=2, padding="same", name="dilated")(x)
    x = layers.DepthwiseConv2D(2, strides=2, padding="same", name="depthwise")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="valid", name="up")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(x)
    model = settled(keras.Model(inputs, layers.Dense(5, name="output")(x)))
    x = samples(model)
    content, simulated = check(model, x, clipping_recipe(model, x, TARGET, 5, 6))
    (got,) = run(session(content), [x])
    np.testing.assert_array_equal(got, np.asarray(simulated(x)))


def test_a_searched_recipe_becomes_a_file_that_runs_exactly(tmp_path):
    model = network("mobile")
    x = samples(model, count=32)
    recipe = search(model, x, TARGET, mpq.Budget(average_weight_bits=4), activation_bits=6, progress=False)
    on_grid = constrain(model, recipe, x)
    content = onnx.export(on_grid, recipe, path=tmp_path / "mobile.onnx")
    assert (tmp_path / "mobile.onnx").read_bytes() == content
    onnx.verify(tmp_path / "mobile.onnx", simulate(on_grid, recipe), x).raise_if_different()
    proto = load(content)
    assert [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == ["batch", 8, 8, 3]


def test_verify_says_which_site_differs_first():
    model = NETWORKS["residual"]()
    x = samples(model)
    recipe = clipping_recipe(model, x, TARGET, 4, 8)
    content = onnx.export(model, recipe)
    layer = model.get_layer("conv2")
    kernel, bias = layer.get_weights()
    layer.set_weights([-kernel, bias])
    verification = onnx.verify(content, simulate(model, recipe), x)
    assert not verification
    assert verification.first_differing_site == "conv2"


def behind_a_dense(tail):
    """A model that ends in ``tail`` of [3, 2], a layer or a function; its samples and a recipe."""
    inputs = keras.Input((4,))
    model = settled(keras.Model(inputs, tail(keras.layers.Reshape((3, 2))(keras.layers.Dense(6)(inputs)))))
    x = samples(model)
    return model, x, clipping_recipe(model, x, TARGET, 4, 6)


TAILS = {
    "softmax": keras.layers.Softmax(),
    "softmax along another axis": keras.layers.Softmax(axis=1),
    "softmax as an activation": keras.layers.Activation("softmax"),
    "softmax as a function": lambda x: tf.nn.softmax(x, axis=1),
    "log_softmax": lambda x: tf.nn.log_softmax(x),
    "a clip on both sides of zero": lambda x: tf.clip_by_value(x, -0.4, 0.4),
    "a clip from zero": lambda x: tf.clip_by_value(tf.math.exp(x), 0.0, 0.5),  # of x alone it is an integer clamp
    "arithmetic with numbers": lambda x: 2.0 - tf.math.exp(x * 0.5) / 3.0,
    "layers of two tensors": lambda x: keras.layers.Multiply()([x, keras.layers.Softmax()(x)]),
    "layer norm": keras.layers.LayerNormalization(epsilon=0.01),
    "layer norm over all": keras.layers.LayerNormalization(axis=(1, 2), scale=False),
    "matmul": lambda x: tf.matmul(tf.matmul(x, x, transpose_b=True), x),
    "lstm": keras.layers.LSTM(2, return_sequences=True, bias_initializer="normal"),
    "gru": keras.layers.GRU(2, return_sequences=True, bias_initializer="normal"),
    "gru, reset before": keras.layers.GRU(2, return_sequences=True, reset_after=False, use_bias=False),
    "ops that a record describes": lambda x: keras.layers.ReLU(0.5)(keras.layers.Permute((2, 1))(tf.math.exp(x))),
}


INTEGERS = (
    "matmul",
    "a clip on both sides of zero",
    "a clip from zero",
    "arithmetic with numbers",
    "ops that a record describes",
)
"""Those that ONNX Runtime's target computes on grids, as functions of one element."""


@pytest.mark.parametrize("name", TAILS)
def test_a_float_tail_is_written_as_it_is(name):
    model, x, recipe = behind_a_dense(TAILS[name])
    content, simulated = check(model, x, recipe)
    (got,) = run(session(content), [x])
    np.testing.assert_allclose(got, np.asarray(simulated(x)), rtol=1e-5, atol=1e-6)
    found = onnx.verify(content, simulated, x)
    floats = 0 if name in INTEGERS else 6 * len(x)
    assert (found.elements, found.float_elements, found.float_mismatched) == (6 * len(x), floats, 0)
    assert (found.float_distance or 0.0) < 1e-5


def test_what_onnx_lacks_is_refused_by_name():
    for tail, match in (
        (lambda x: tf.math.cumprod(x, axis=1), r"cumprod has no ONNX form here; let the model end before it"),
        (lambda x: tf.nn.softmax(tf.transpose(x)), r"transpose has no ONNX form here"),
    ):
        model, _, recipe = behind_a_dense(tail)
        with pytest.raises(mpq.UnsupportedOp, match=match):
            onnx.export(model, recipe)


def test_the_batch_can_be_fixed_at_that_of_the_example():
    model = network("mobile")
    x = samples(model)
    recipe = clipping_recipe(model, x, TARGET, 4, 6)
    content = onnx.export(model, recipe, x[:3], dynamic_batch=False)
    assert [d.dim_value for d in load(content).graph.input[0].type.tensor_type.shape.dim] == [3, 8, 8, 3]
    onnx.verify(content, simulate(model, recipe), x[:3]).raise_if_different()
    with pytest.raises(mpq.ModelError, match="pass example_inputs"):
        onnx.export(model, recipe, dynamic_batch=False)


def test_the_old_names_still_work_and_say_what_the_new_ones_are():
    model = network("residual")
    x = samples(model)
    recipe = clipping_recipe(model, x, TARGET, 4, 6)
    with pytest.warns(DeprecationWarning, match=r"mpq_tfmot\.to_onnx is now mpq_tfmot\.onnx\.export"):
        content = to_onnx(model, recipe)
    with pytest.warns(DeprecationWarning, match=r"mpq_tfmot\.verify_onnx is now mpq_tfmot\.onnx\.verify"):
        verify_onnx(content, simulate(model, recipe), x).raise_if_different()


def test_a_recipe_of_another_target_is_refused_both_ways(tmp_path):
    model = network("residual")
    x = samples(model)
    recipe = clipping_recipe(model, x, "litert-po2", 4, 8)
    with pytest.raises(
        mpq.TargetError, match=r"'litert-po2' runs on tfmot, and may round otherwise .*target='onnxruntime'"
    ):
        onnx.export(model, recipe)
    recipe = clipping_recipe(model, x, TARGET, 4, 8)
    with pytest.raises(mpq.TargetError, match="not on LiteRT"):
        litert.export(model, recipe)
    with pytest.raises(mpq.ModelError, match="opset 20 is too old"):
        onnx.export(model, recipe, opset=20)
    with pytest.raises(mpq.ModelError, match="cannot write the ONNX model"):
        onnx.export(model, recipe, None, tmp_path / "none" / "model.onnx")
    with pytest.raises(mpq.ModelError, match="verify needs what simulate returned"):
        onnx.verify(onnx.export(model, recipe), model, x)

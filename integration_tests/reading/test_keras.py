"""Keras models as people bring them: what is read, and that the file is its simulation, bit for bit."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import mpq_plugins as mpq
import mpq_tfmot
from integration_tests.reading.converting_keras import X, behind, error_of, exact
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import read_model

layers = keras.layers


SAME = {
    "a layer as activation": ("relu", lambda y: layers.Conv2D(4, 1, activation=layers.ReLU(name="act"))(y)),
    "Activation of a name": ("relu", lambda y: layers.Activation("relu")(y)),
    "Activation of a function": ("relu", lambda y: layers.Activation(tf.nn.relu)(y)),
    "a layer within a layer": ("relu", lambda y: layers.Conv2D(4, 1, activation=layers.Activation("relu"))(y)),
    "tf.nn.relu": ("relu", tf.nn.relu),
    "tf.maximum": ("relu", lambda y: tf.maximum(y, 0.0)),
    "keras.activations": ("relu6", lambda y: keras.activations.relu(y, max_value=6.0)),
    "clip_by_value": ("relu6", lambda y: tf.clip_by_value(y, 0.0, 6.0)),
    "tf.concat": ("concat", lambda y: tf.concat([y, layers.Conv2D(3, 1)(y)], -1)),
    "tf.pad": ("pad", lambda y: tf.pad(y, [[0, 0], [1, 2], [0, 1], [0, 0]])),
    "max_pool2d": ("max_pool", lambda y: tf.nn.max_pool2d(y, 2, 2, "VALID")),
    "avg_pool2d": ("avg_pool", lambda y: tf.nn.avg_pool2d(y, 3, 2, "SAME")),
    "transpose": ("transpose", lambda y: tf.transpose(y, [0, 2, 1, 3])),
    "identities": ("", lambda y: tf.stop_gradient(tf.identity(y))),
    "what only training does": (
        "",
        lambda y: layers.AlphaDropout(0.1)(layers.RandomFlip()(layers.GaussianNoise(0.1)(y))),
    ),
    "zero padding, valid": ("pad", lambda y: layers.Conv2D(4, 3, 2, activation="relu")(layers.ZeroPadding2D(1)(y))),
}


@pytest.mark.parametrize("spelling", SAME)
def test_spellings_of_what_layers_do_are_read_as_that(spelling):
    op, function = SAME[spelling]
    model = behind(function)
    graph = read_model(model).graph
    assert graph.float_ops == ()
    ops = [node.op for node in graph.nodes]
    if op.startswith("relu"):
        assert (0.0, 6.0 if op == "relu6" else None) in [(node.low, node.high) for node in graph.nodes]
    elif op:
        assert op in ops
    else:
        assert ops == ["argument", "input", "conv2d", "conv2d"]
    assert error_of(model, *exact(model), X) < 0.05


@pytest.mark.parametrize(
    "function",
    [
        lambda y: tf.reshape(y, (-1, 196)),
        lambda y: tf.reduce_mean(y, [1, 2]),
        lambda y: tf.squeeze(layers.GlobalAveragePooling2D(keepdims=True)(y), [1, 2]),
        lambda y: layers.Flatten()(tf.reduce_mean(y, axis=(-3, -2), keepdims=True)),
    ],
)
def test_functions_in_front_of_a_dense_layer_are_layers_too(function):
    model = behind(lambda y: function(tf.nn.relu(y)), last=layers.Dense(2))
    assert error_of(model, *exact(model), X) < 0.05


def images():
    return (np.random.default_rng(2).random((16, 9, 9, 3)) * 255).astype(np.float32)


FRONTS = {
    "Rescaling": lambda: layers.Rescaling(1 / 255.0),
    "Rescaling with an offset": lambda: layers.Rescaling(1 / 127.5, -1),
    "Normalization": lambda: layers.Normalization(mean=[100.0, 110.0, 120.0], variance=[50.0**2, 60.0**2, 70.0**2]),
    "adapted": lambda: _adapted(),
}


def _adapted():
    layer = layers.Normalization()
    layer.adapt(images())
    return layer


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("front", FRONTS)
def test_normalization_in_front_is_part_of_the_first_layer_where_that_is_exact(front, padding):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((9, 9, 3)),
            FRONTS[front](),
            layers.Conv2D(4, 3, padding=padding, activation="relu", name="conv"),
            layers.Conv2D(2, 1),
        ]
    )
    ops = [node.op for node in read_model(model).graph.nodes if node.op not in ("argument", "input")]
    # a shifted zero is none, so that padding needs it before: by one number a function, by channels a layer
    shift = {"Rescaling": [], "Rescaling with an offset": ["affine"]}.get(front, ["depthwise_conv2d"])
    assert ops == (shift if padding == "same" else []) + ["conv2d", "conv2d"]
    assert error_of(model, *exact(model, images()), images()) < 0.05


NORMED = {
    "features": ((6,), lambda: [layers.Dense(5, activation="relu"), layers.BatchNormalization(), layers.Dense(3)]),
    "features first": ((6,), lambda: [layers.BatchNormalization(), layers.Dense(3)]),
    "features last": ((6,), lambda: [layers.Dense(5, activation="relu"), layers.BatchNormalization()]),
    "signals": ((12, 3), lambda: [layers.Conv1D(5, 3, activation="relu"), layers.BatchNormalization()]),
    "rows of features": ((4, 6), lambda: [layers.Dense(5, activation="relu"), layers.BatchNormalization()]),
}


@pytest.mark.parametrize("kind", NORMED)
def test_a_batch_norm_behind_no_layer_is_exact(kind):
    shape, make = NORMED[kind]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(shape), *make()])
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.random(w.shape) + 0.5 for w in layer.get_weights()])
    x = rng.normal(size=(32, *shape)).astype(np.float32)
    assert error_of(model, *exact(model, x), x) < 0.05


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_causal_convolution_pads_in_front(dilation):
    keras.utils.set_random_seed(0)
    first = layers.Conv1D(4, 3, padding="causal", dilation_rate=dilation, activation="relu")
    model = keras.Sequential([keras.Input((12, 3)), first, layers.Conv1D(2, 1)])
    assert read_model(model).graph.layers[0].attrs["padding"] == ((2 * dilation, 0),)
    x = np.random.default_rng(0).normal(size=(16, 12, 3)).astype(np.float32)
    assert error_of(model, *exact(model, x), x) < 0.05


def test_a_dense_layer_distributed_over_time_is_a_dense_layer():
    inner = layers.TimeDistributed(layers.Dense(5, activation="relu"))
    model = keras.Sequential([keras.Input((6, 4)), inner, layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(16, 6, 4)).astype(np.float32)
    assert error_of(model, *exact(model, x), x) < 0.05


class Block(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.a, self.b = layers.Conv2D(4, 3, activation="relu", name="a"), layers.Conv2D(4, 1, name="b")

    def call(self, x):
        return self.b(self.a(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.block, self.last = Block(name="block"), layers.Conv2D(2, 1, name="last")

    def call(self, image, training=None):
        y = self.block(image)
        if training:
            y = tf.nn.dropout(y, 0.5)
        return self.last(tf.nn.relu(y))


def test_subclassed_models_and_layers_whose_call_is_a_graph_of_layers_are_read():
    keras.utils.set_random_seed(0)
    model = Subclassed()
    model(X[:1])
    names = [site.name for site in mpq_tfmot.inventory(model)]
    assert names == ["image", "block.a.weight", "block.a", "block.b.weight", "block.b", "last.weight", "last"]
    assert error_of(model, *exact(model), X) < 0.05
    inputs = keras.Input((9, 9, 3))
    outer = keras.Model(inputs, layers.Conv2D(3, 1)(model(inputs)))
    assert error_of(outer, *exact(outer), X) < 0.05


def two_inputs(structure):
    keras.utils.set_random_seed(0)
    a, b = keras.Input((6,), name="a"), keras.Input((6,), name="b")
    joint = layers.Concatenate()([layers.Dense(8)(a), layers.Dense(8)(b)])
    return keras.Model({"a": a, "b": b} if structure == "dict" else [a, b], layers.Dense(3)(joint))


ROWS = {name: np.random.default_rng(i).random((16, 6)).astype(np.float32) for i, name in enumerate("ab")}


BATCHES = {
    "one mapping": ROWS,
    "mappings": [{name: rows[:8] for name, rows in ROWS.items()}, {name: rows[8:] for name, rows in ROWS.items()}],
    "in another order": [dict(reversed(ROWS.items()))],
    "with labels": [(ROWS, np.zeros(16))],
    "tuples": [(ROWS["a"], ROWS["b"])],
    "tuples with labels": [((ROWS["a"], ROWS["b"]), np.zeros(16))],
    "a data set": tf.data.Dataset.from_tensor_slices((ROWS, np.zeros(16))).batch(8),
}


@pytest.mark.parametrize("structure", ["dict", "list"])
@pytest.mark.parametrize("kind", BATCHES)
def test_inputs_come_by_name_or_in_order_to_every_verb(kind, structure):
    model = two_inputs(structure)
    on_grid, recipe = exact(model, BATCHES[kind])
    given = ROWS if structure == "dict" else [ROWS["a"], ROWS["b"]]
    np.testing.assert_allclose(on_grid(given), model(given), atol=0.1)
    simulated = mpq_tfmot.simulate(on_grid, recipe)
    np.testing.assert_array_equal(simulated.predict(ROWS), simulated.predict([ROWS["a"], ROWS["b"]]))


def test_a_batch_without_an_input_is_refused_with_its_name():
    with pytest.raises(mpq.ModelError, match=r"nothing for the inputs b; it has a"):
        mpq_tfmot.search(two_inputs("dict"), [{"a": ROWS["a"]}], "litert-po2", weight_bits=8, activation_bits=8)


@pytest.mark.parametrize("kind", ["batches", "pairs", "data set"])
def test_verify_takes_what_search_takes_and_compares_all_of_it(kind):
    data = {
        "batches": [X[:6], X[6:]],
        "pairs": [(X, np.arange(16))],
        "data set": tf.data.Dataset.from_tensor_slices((X, np.arange(16))).batch(8),
    }[kind]
    model = behind(tf.nn.relu)
    recipe = mpq_tfmot.search(model, data, "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    simulated = mpq_tfmot.simulate(model, recipe)
    verification = mpq_tfmot.verify(mpq_tfmot.to_litert(model, recipe), simulated, data)
    assert (verification.exact, verification.elements) == (True, 16 * 7 * 7 * 2)


def test_a_file_has_the_names_of_the_model_s_inputs_and_outputs():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((9, 9, 3), name="image")
    y = layers.Flatten()(layers.Conv2D(4, 3, activation="relu")(inputs))
    ends = {"cls": layers.Dense(3, activation="softmax", name="cls")(y), "box": layers.Dense(4, name="box")(y)}
    model = keras.Model(inputs, ends)
    on_grid, recipe = exact(model)
    stock = Interpreter(model_content=tf.lite.TFLiteConverter.from_keras_model(model).convert())
    for made in (model, on_grid):
        ours = Interpreter(model_content=mpq_tfmot.to_litert(made, recipe))
        assert ours.get_signature_list() == stock.get_signature_list()
        assert set(ours.get_signature_runner()(image=X[:1])) == {"cls", "box"}
    assert set(on_grid(X)) == {"cls", "box"}
    assert list(on_grid.output_names) == list(model.output_names)


class Transformer(keras.Model):
    """A vision transformer of one block, as people subclass it."""

    def __init__(self):
        super().__init__()
        self.patch, self.attention = layers.Conv2D(8, 3, 3), layers.MultiHeadAttention(2, 4)
        self.token = self.add_weight("token", (1, 1, 8), initializer=keras.initializers.RandomNormal(stddev=1.0))
        self.places = self.add_weight("places", (1, 10, 8), initializer=keras.initializers.RandomNormal(stddev=1.0))
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.mlp = keras.Sequential([layers.Dense(16, "gelu"), layers.Dense(8)])
        self.head = layers.Dense(3)

    def call(self, x, training=False):
        x = self.patch(x)
        samples = tf.shape(x)[0]
        x = tf.reshape(x, [samples, 9, 8])
        x = tf.concat([tf.broadcast_to(self.token, [samples, 1, 8]), x], 1) + self.places
        y = self.norms[0](x)
        x = x + self.attention(y, y, training=training)
        return self.head((x + self.mlp(self.norms[1](x)))[:, 0])


def test_a_subclassed_vision_transformer_is_exact():
    keras.utils.set_random_seed(0)
    model = Transformer()
    model(X)
    on_grid, recipe = exact(model)
    assert recipe.float_ops == ()
    assert error_of(model, on_grid, recipe, X) < 0.1


def words():
    inputs = keras.Input((6,), dtype="int32", name="words")
    y = layers.GroupNormalization(2)(layers.Dense(8)(layers.Embedding(12, 8)(inputs)))
    joined = layers.Concatenate()([layers.Flatten()(y), layers.CategoryEncoding(12, "count")(inputs)])
    return keras.Model(inputs, layers.Dense(3)(layers.UnitNormalization()(joined)))


def test_rows_of_an_embedding_are_looked_up_as_codes_and_the_file_takes_whole_numbers():
    keras.utils.set_random_seed(0)
    model, x = words(), np.random.default_rng(0).integers(0, 12, (16, 6)).astype(np.int32)
    on_grid, recipe = exact(model, x)
    assert len(recipe.float_ops) == 2
    assert error_of(model, on_grid, recipe, x) < 0.05
    (taken,) = Interpreter(model_content=mpq_tfmot.litert.export(on_grid, recipe)).get_input_details()
    assert taken["dtype"] == np.int32
    recipe = mpq_tfmot.search(model, x, "generic-po2", weight_bits=8, activation_bits=8, progress=False)
    program = mpq_tfmot.integers(model, recipe)
    mpq_tfmot.verify_integers(program, model, recipe, x).raise_if_different()


ENDS = {
    "argmax": lambda y: tf.argmax(y, -1),
    "argmin of rows": lambda y: tf.argmin(y, 1),
    "the best two, and their places": lambda y: list(tf.math.top_k(tf.reshape(y, (-1, 20)), 2)),
    "running sums": lambda y: tf.cumsum(y, 1),
    "one of many": lambda y: tf.one_hot(tf.argmax(y, -1), 4),
}


@pytest.mark.parametrize("kind", ENDS)
def test_places_and_order_at_the_end_are_the_file_s_too(kind):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 6))
    model, x = keras.Model(inputs, ENDS[kind](layers.Dense(4)(inputs))), X[:, :5, :6, 0]
    recipe = mpq_tfmot.search(model, x, "litert-po2", weight_bits=4, activation_bits=3, progress=False)
    file = Interpreter(model_content=mpq_tfmot.litert.export(model, recipe))
    file.resize_tensor_input(0, x.shape)
    file.allocate_tensors()
    file.set_tensor(0, x)
    file.invoke()
    wanted = tf.nest.flatten(mpq_tfmot.simulate(model, recipe)(x))
    for detail, value in zip(file.get_output_details(), wanted, strict=True):
        np.testing.assert_allclose(file.get_tensor(detail["index"]), np.asarray(value), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("groups", [2, 4])
def test_a_convolution_in_groups_is_quantized(groups):
    model = behind(lambda y: layers.Conv2D(8, 3, 2, groups=groups, padding="same", activation="relu")(y))
    weight = read_model(model).graph.layers[1].weight
    assert weight.shape == (8, 4 // groups, 3, 3)
    assert error_of(model, *exact(model), X) < 0.05


@pytest.mark.parametrize("kept", ["conv", "norm", "grouped", "rnn", "fc"])
def test_what_is_kept_float_has_its_own_weights_in_the_constrained_model_too(kept):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((9, 9, 4)),
            layers.Conv2D(4, 3, padding="same", name="conv"),
            layers.Conv2D(4, 1, name="second"),
            layers.BatchNormalization(name="norm") if kept == "norm" else layers.ReLU(),
            layers.Conv2D(4, 3, groups=2, name="grouped") if kept == "grouped" else layers.ReLU(),
            layers.Reshape((-1, 4)),
            layers.LSTM(5, return_sequences=True, name="rnn") if kept == "rnn" else layers.ReLU(),
            layers.Flatten(),
            layers.Dense(3, name="fc"),
        ]
    )
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([rng.random(w.shape) * 0.5 + 0.1 for w in layer.get_weights()])
    x = rng.normal(size=(16, 9, 9, 4)).astype(np.float32)
    recipe = mpq_tfmot.search(
        model, x, "generic-po2", weight_bits=8, activation_bits=8, keep_float=[kept], progress=False
    )
    for calibration in (x, None):
        on_grid = mpq_tfmot.constrain(model, recipe, calibration)
        assert error_of(model, on_grid, recipe, x) < 0.05
        np.testing.assert_allclose(on_grid(x), model(x), rtol=0.1, atol=0.1 * float(np.abs(model(x)).max()))

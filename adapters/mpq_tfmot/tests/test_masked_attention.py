"""Attention to a part of the elements in Keras: one mask, by layers and by hand, and what heeds masks unseen."""

import numpy as np
import pytest

import mpq_tfmot
from integration_tests.tfmot.recipes import float_values
from mpq_plugins import plugins
from mpq_plugins.errors import UnsupportedOp
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import write_model

layers = keras.layers
BEFORE = np.tril(np.ones((5, 5), bool))
HIDDEN = np.where(BEFORE, 0.0, -1e9).astype(np.float32)


class Causal(layers.Layer):
    """A mask made of the sizes of the input, one for each sample."""

    def __init__(self):
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 3)

    def call(self, x):
        steps = tf.range(tf.shape(x)[1])
        mask = tf.cast(steps[:, None] >= steps, "int32")
        return self.attention(x, x, attention_mask=tf.tile(mask[None], [tf.shape(x)[0], 1, 1]))


def by_hand(hide):
    def attended(x):
        products = tf.matmul(x, layers.Dense(6)(x), transpose_b=True) / np.sqrt(6.0)
        return tf.matmul(tf.nn.softmax(hide(products)), x)

    return attended


MASKED = {
    "use_causal_mask": lambda x: layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True),
    "attention_mask": lambda x: layers.MultiHeadAttention(2, 3, value_dim=2)(x, x, attention_mask=BEFORE[None]),
    "attention_mask made of sizes": lambda x: Causal()(x),
    "Attention": lambda x: layers.Attention()([x, layers.Dense(6)(x)], use_causal_mask=True),
    "a large number added": by_hand(lambda y: y + HIDDEN),
    "infinity added": by_hand(lambda y: np.where(BEFORE, 0.0, -np.inf).astype(np.float32) + y),
    "where": by_hand(lambda y: tf.where(BEFORE, y, -1e9)),
}


def network(function, shape=(5, 4)):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape, name="x")
    x = function(layers.Dense(6, name="first")(inputs))
    return keras.Model(inputs, layers.Dense(2, name="last")(x))


@pytest.mark.parametrize(
    ("kind", "target"),
    [*((kind, "litert-po2") for kind in MASKED), ("where", "onnxruntime"), ("use_causal_mask", "onnxruntime")],
)
def test_a_constant_mask_is_part_of_the_softmax(kind, target):
    model, x = network(MASKED[kind]), np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    reading, wanted = read_model(model, target=plugins.target(target)), model(x).numpy()
    if target == "litert-po2":
        (softmax,) = [node for node in reading.graph.nodes if node.op == "softmax"]
        np.testing.assert_array_equal(np.squeeze(softmax.attrs["mask"]) < -1e3, ~BEFORE)
        assert reading.graph.float_ops == ()
    np.testing.assert_allclose(float_values(reading, x)["last"], wanted, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(write_model(reading)(x), wanted, atol=1e-5, rtol=1e-4)


PLAIN = {
    "other keys": lambda x: layers.MultiHeadAttention(2, 3)(x, x[:, :4], layers.Dense(5)(x)[:, :4]),
    "images": lambda x: layers.Flatten()(layers.MultiHeadAttention(2, 3)(*[layers.Reshape((5, 3, 2))(x)] * 2)),
    "shares that nobody reads": lambda x: layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)[0],
}


@pytest.mark.parametrize("kind", PLAIN)
def test_attention_without_a_mask_is_read_in_every_spelling(kind):
    model, x = network(PLAIN[kind]), np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    reading = read_model(model, target=plugins.target("litert-po2"))
    assert reading.graph.float_ops == ()
    np.testing.assert_allclose(float_values(reading, x)["last"], model(x).numpy(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("front", "behind"),
    [
        (lambda: layers.Masking(), lambda: layers.GlobalAveragePooling1D()),
        (lambda: layers.Masking(), lambda: layers.LSTM(3)),
    ],
    ids=["pooling", "recurrent"],
)
def test_what_heeds_a_mask_that_no_tensor_shows_is_refused_on_every_target(front, behind):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, layers.Dense(2)(behind()(layers.Dense(3)(front()(inputs)))))
    for target in ("litert-po2", "onnxruntime"):
        with pytest.raises(UnsupportedOp, match="heeds the mask"):
            read_model(model, target=plugins.target(target))


def test_what_a_layer_is_called_with_beside_its_tensors_is_refused_by_name():
    model = network(lambda x: layers.Softmax(name="shares")(x, mask=BEFORE[:, :1] * np.ones((1, 5, 6), bool)))
    with pytest.raises(UnsupportedOp, match="shares: what Softmax computes with mask"):
        read_model(model, target=plugins.target("litert-po2"))


LENGTHS = np.array([5, 3, 4, 0])
SEEN = np.arange(5) < LENGTHS[:, None]


def with_mask(causal):
    """The mask as an input of truth values."""
    x, seen = keras.Input((5, 4), name="x"), keras.Input((5, 5), dtype="bool", name="seen")
    y = layers.Dense(6, name="first")(x)
    y = layers.MultiHeadAttention(2, 3, name="attention")(y, y, attention_mask=seen, use_causal_mask=causal)
    return keras.Model([x, seen], layers.Dense(2, name="last")(y)), (X, np.broadcast_to(SEEN[:, None], (4, 5, 5)))


def behind_masking(causal):
    """The mask that hangs on a tensor, passed on by layers and joined by a sum."""
    x = keras.Input((5, 4), name="x")
    y = layers.Dense(6, name="first")(layers.Masking()(x))
    attended = layers.MultiHeadAttention(2, 3, name="attention")(y, y, use_causal_mask=causal)
    y = layers.LayerNormalization(name="norm")(layers.Add()([y, attended]))
    y = layers.MultiHeadAttention(2, 3, name="again")(y, y)
    return keras.Model(x, layers.Dense(2, name="last")(y)), X * SEEN[..., None]


def of_words():
    words = keras.Input((5,), name="words")
    y = layers.Embedding(20, 6, mask_zero=True, name="table")(words)
    y = layers.MultiHeadAttention(2, 3, name="attention")(y, y, layers.Dense(6)(y))
    return keras.Model(words, layers.Dense(2, name="last")(y)), (1.0 + np.arange(20).reshape(4, 5) % 19) * SEEN


X = np.random.default_rng(0).normal(size=(4, 5, 4)).astype(np.float32)
OWN = {
    "an argument": lambda: with_mask(False),
    "an argument, and what comes before": lambda: with_mask(True),
    "Masking": lambda: behind_masking(False),
    "Masking, and what comes before": lambda: behind_masking(True),
    "mask_zero": of_words,
}


@pytest.mark.parametrize("kind", OWN)
def test_a_mask_of_the_sample_s_own_is_put_on_the_scores_in_float_between_two_products(kind):
    keras.utils.set_random_seed(0)
    model, given = OWN[kind]()
    recipe = mpq_tfmot.search(model, [given], "onnxruntime", weight_bits=7, activation_bits=8, progress=False)
    assert recipe.quantized_macs == 1
    on_grid = mpq_tfmot.constrain(model, recipe, [given])
    simulated = mpq_tfmot.simulate(on_grid, recipe)
    # one sample sees nothing, and Keras takes the mean of all then
    np.testing.assert_allclose(simulated.predict(given), model.predict(given, verbose=0), atol=0.15)
    mpq_tfmot.onnx.verify(mpq_tfmot.onnx.export(on_grid, recipe), on_grid, given, recipe).raise_if_different()
    with pytest.raises(UnsupportedOp, match=r"attention(\.products)?: "):
        read_model(model, target=plugins.target("litert-po2"), refusing=True)

"""Networks with float parts in the middle run on each target with float arithmetic, and compute their simulation."""

import numpy as np
import pytest
import torch
from torch import nn

import mpq_tfmot
from integration_tests.bits import widest
from mpq_tfmot.keras import keras
from mpq_torch import fx, onnx, pt2e

WORDS = torch.randint(0, 20, (24, 5), generator=torch.Generator().manual_seed(0))
BITS = {"weight_bits": widest("torch-x86"), "activation_bits": 8, "progress": False}


class Reader(nn.Module):
    """Embedded words and places, an encoder layer, a GRU, and a head; another linear as a gate."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(20, 8), nn.Parameter(torch.randn(5, 8))
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.gru, self.gate, self.head = nn.GRU(8, 6, batch_first=True), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, ids):
        y = self.encoder(self.words(ids) + self.places)
        return self.head(self.gru(y)[0] * torch.sigmoid(self.gate(y)))


# multiply-accumulates for each of 5 elements, by hand
QUANTIZED = 4 * 8 * 8 + 2 * 8 * 16 + 8 * 6 + 6 * 3 + 2 * 5 * 8
FLOAT = 3 * 6 * (8 + 6)


@pytest.mark.parametrize("target", ["torch-x86", "torch-pt2e", "onnxruntime"])
def test_a_network_of_words_is_exact_and_says_what_of_it_is_quantized(target):
    torch.manual_seed(0)
    model, way = Reader().eval(), pt2e if target == "torch-pt2e" else fx
    recipe = way.search(model, [WORDS], target, **BITS)
    assert recipe.quantized_macs == pytest.approx(QUANTIZED / (QUANTIZED + FLOAT))
    assert recipe.float_weights == {"words": 20 * 8, "gru": 3 * 6 * (8 + 6)}
    on_grid = way.constrain(model, recipe, [WORDS])
    simulated = way.simulate(on_grid, recipe, example_inputs=WORDS)
    if target == "onnxruntime":
        found = onnx.verify(onnx.export(on_grid, recipe, WORDS), simulated, WORDS)
        assert 0 < found.float_distance < 1e-5
    else:
        found = way.verify(way.quantize(on_grid, recipe, WORDS), simulated, [WORDS])
    found.raise_if_different()
    wanted = model(WORDS)
    assert float((simulated(WORDS) - wanted).norm() / wanted.norm()) < 0.1


def attentive():
    keras.utils.set_random_seed(0)
    words = keras.Input((5,))
    y = keras.layers.Embedding(20, 8, name="words")(words)
    attended = keras.layers.MultiHeadAttention(2, 4, name="attention")(y, y, use_causal_mask=True)
    y = keras.layers.LayerNormalization(name="norm")(keras.layers.Add()([y, attended]))
    return keras.Model(words, keras.layers.Dense(3)(keras.layers.LSTM(6, name="lstm")(y)))


def test_a_keras_network_of_words_is_exact_in_onnx():
    model, words = attentive(), WORDS.numpy().astype(np.float32)
    recipe = mpq_tfmot.search(model, words, "onnxruntime", **BITS)
    # for each of 5 elements; the head reads one
    products, floats = 5 * 4 * 8 * 8 + 6 * 3 + 5 * 2 * 5 * 8, 5 * 4 * 6 * (8 + 6)
    assert recipe.quantized_macs == pytest.approx(products / (products + floats))
    on_grid = mpq_tfmot.constrain(model, recipe, words)
    exported = mpq_tfmot.onnx.export(on_grid, recipe)
    mpq_tfmot.onnx.verify(exported, on_grid, words, recipe).raise_if_different()


def test_a_keras_network_of_words_is_exact_on_litert():
    model, words = attentive(), WORDS.numpy().astype(np.float32)
    recipe = mpq_tfmot.search(model, words, "litert-po2", **BITS)
    assert recipe.float_ops == ("words",)  # rows of codes are looked up; attention has its mask, the LSTM is unrolled
    on_grid = mpq_tfmot.constrain(model, recipe, words)
    mpq_tfmot.litert.verify(mpq_tfmot.litert.export(on_grid, recipe), on_grid, words, recipe).raise_if_different()


class Moved(nn.Module):
    """Indices that are moved and masked in front of an embedding of more words than a grid has codes."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(1000, 6), nn.Linear(6, 3)

    def forward(self, ids):
        ids = torch.cat([ids[:, 1:3], ids.flip(1)], 1).clamp(max=990)
        return self.head(self.words(ids.reshape(-1, 2)) * (ids != 0).unsqueeze(-1).float().reshape(-1, 2, 1))


def test_indices_that_are_moved_in_front_of_an_embedding_lie_on_no_grid():
    model, ids = Moved().eval(), torch.randint(0, 1000, (16, 4), generator=torch.Generator().manual_seed(0))
    recipe = fx.search(model, ids, "torch-x86", **BITS)
    assert {"cat", "flip", "clamp", "reshape", "words"} <= set(recipe.float_ops)
    simulated = fx.simulate(model, recipe)
    torch.testing.assert_close(simulated(ids), model(ids), atol=0.1, rtol=0)
    fx.verify(fx.quantize(model, recipe, ids), simulated, ids).raise_if_different()


def test_keras_indices_that_are_moved_in_front_of_an_embedding_lie_on_no_grid():
    layers = keras.layers
    x = keras.Input((4,), dtype="int32", name="x")
    moved = layers.Concatenate()(
        [layers.Permute((2, 1))(layers.Reshape((2, 2))(x)), layers.Reshape((2, 2))(x[:, ::-1])]
    )
    model = keras.Model(x, layers.Dense(3, name="head")(layers.Embedding(1000, 6, name="words")(moved)))
    ids = np.random.default_rng(0).integers(0, 1000, (16, 4)).astype(np.int32)
    recipe = mpq_tfmot.search(model, ids, "onnxruntime", weight_bits=7, activation_bits=8, progress=False)
    assert {entry.site for entry in recipe.activations} == {"words", "head"}
    simulated = mpq_tfmot.simulate(model, recipe)
    assert np.abs(simulated.predict(ids) - model.predict(ids, verbose=0)).max() < 0.01
    assert mpq_tfmot.onnx.verify(mpq_tfmot.onnx.export(model, recipe), simulated, ids).exact

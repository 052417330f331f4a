"""Models that take batches of one size only are measured and rounded on whole batches."""

import numpy as np
import pytest
import tensorflow as tf
import torch
from torch import nn

import mpq_plugins as mpq
import mpq_tfmot
from mpq_plugins.errors import ModelError
from mpq_tfmot.keras import keras
from mpq_torch import fx

SIZE = 6
BATCHES = [np.random.default_rng(k).normal(size=(SIZE, 5, 4)).astype(np.float32) for k in range(3)]


class Summed(nn.Module):
    """What no record computes, of one size of batch."""

    def forward(self, x):
        return torch.cumsum(x.view(SIZE, 5, 4), 1).sum(1)


def torch_verbs():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), Summed(), nn.Linear(4, 3)).eval()
    return fx, model, ["2"], torch.from_numpy


def keras_verbs():
    x = keras.Input((5, 4), batch_size=SIZE)
    y = keras.layers.Dense(4, activation="relu")(x)
    own = keras.layers.Lambda(lambda t: tf.reduce_sum(tf.cumsum(tf.reshape(t, (SIZE, 5, 4)), 1), 1), name="own")(y)
    return mpq_tfmot, keras.Model(x, keras.layers.Dense(3)(own)), ["own"], np.asarray


@pytest.mark.parametrize("verbs", [torch_verbs, keras_verbs])
def test_a_model_of_one_batch_size_is_searched_and_rounded_on_whole_batches(verbs):
    way, model, kept, tensor = verbs()
    data = [tensor(batch) for batch in BATCHES]
    recipe = way.search(model, data, "generic-po2", weight_bits=4, activation_bits=8, keep_float=kept, progress=False)
    way.constrain(model, recipe, data)
    with pytest.raises(ModelError, match=r"batches of 6 samples only.*leaves one of 4"):
        way.search(model, [*data, data[0][:4]], "generic-po2", mpq.Budget(average_weight_bits=4), keep_float=kept)

"""Networks of tf_keras.applications, preprocessing and squeeze-and-excite included, as integers alone, and exact."""

from collections import Counter

import numpy as np
import pytest

from integration_tests.tfmot.recipes import clipping_recipe
from mpq_plugins import plugins
from mpq_tfmot import litert
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.reading import read_model

SIZE = 32
NETWORKS = {
    "MobileNetV3Small": {"hardswish": 19, "hardsigmoid": 9, "mul": 9, "affine": 1},
    "MobileNetV3Large": {"hardswish": 21, "hardsigmoid": 8, "mul": 8, "affine": 1},
    "EfficientNetB0": {"silu": 49, "sigmoid": 16, "mul": 16, "affine": 0},
}
"""How many of these ops are read. The factors of EfficientNet's preprocessing go into its first layer."""


def application(name):
    """The network with drawn weights and norms that have seen images, and images for it."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(input_shape=(SIZE, SIZE, 3), weights=None, classes=10)
    images = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 3)).astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    return model, images


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_read_with_every_function_by_its_name_and_gives_the_simulation_s_numbers(name):
    model, images = application(name)
    graph = read_model(model, target=plugins.target("litert-po2")).graph
    found = Counter(node.op for node in graph.nodes)
    assert {op: found[op] for op in NETWORKS[name]} == NETWORKS[name]
    # all that is left to float is the softmax at the end, which multiplies nothing
    assert [graph[name].attrs["what"] for name in graph.float_ops] == ["softmax"]
    recipe = clipping_recipe(model, images, "litert-po2", 8, 8, per_channel=True)
    litert.verify(litert.export(model, recipe), model, images, recipe).raise_if_different()

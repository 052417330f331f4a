"""Layers as matrix products: the product is the layer's output, and the weight comes back."""

import numpy as np
import pytest

from mpq_tfmot.canonical import canonicalize
from mpq_tfmot.canonical_ops import multiply
from mpq_tfmot.keras import keras
from mpq_tfmot.layer_matrix import Thinning, columns, output_columns, weight_from_matrix, weight_matrix
from mpq_tfmot.tests.networks import settled

layers = keras.layers
LAYERS = {
    "same": lambda: layers.Conv2D(4, 3, padding="same"),
    "valid strided": lambda: layers.Conv2D(4, (3, 2), strides=2),
    "same strided": lambda: layers.Conv2D(4, 3, strides=2, padding="same"),
    "dilated": lambda: layers.Conv2D(4, 3, dilation_rate=2, padding="same"),
    "depthwise": lambda: layers.DepthwiseConv2D(3, strides=2, padding="same"),
    "transposed same": lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "transposed valid": lambda: layers.Conv2DTranspose(4, (2, 3), strides=3),
    "dense": lambda: layers.Dense(4),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_matrix_times_columns_is_the_output(kind):
    model = settled(keras.Sequential([keras.Input((7, 6, 5)), LAYERS[kind]()]))
    op = canonicalize(model).layers[0]
    x = np.random.default_rng(0).normal(size=(3, 7, 6, 5)).astype(np.float32)
    output = multiply(op, x, op.weight.astype(np.float32), None).numpy()
    product = weight_matrix(op) @ columns(op, x)
    np.testing.assert_allclose(product.reshape(-1, product.shape[-1]), output_columns(op, output), atol=1e-4)
    np.testing.assert_array_equal(weight_from_matrix(op, weight_matrix(op)), op.weight)


@pytest.mark.parametrize("kind", ["same", "same strided", "depthwise"])
def test_a_thinned_product_is_the_thinned_output(kind):
    model = settled(keras.Sequential([keras.Input((9, 8, 5)), LAYERS[kind]()]))
    op = canonicalize(model).layers[0]
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 5)).astype(np.float32)
    output = multiply(op, x, op.weight.astype(np.float32), None).numpy()
    thinning = Thinning(2, (1, 0))
    product = weight_matrix(op) @ columns(op, x, thinning)
    np.testing.assert_allclose(product.reshape(-1, product.shape[-1]), output_columns(op, output, thinning), atol=1e-4)

"""What a Keras user points the commands at; TensorFlow is imported as users do."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def model():
    from mpq_tfmot.tests.networks import residual

    assert tf.keras.Model in type(residual()).__mro__, "the commands chose another Keras"
    return residual()


def calibration():
    return np.random.default_rng(1).normal(size=(32, 9, 9, 3)).astype(np.float32)


def narrow():
    return np.zeros((4, 9, 9, 1), np.float32)

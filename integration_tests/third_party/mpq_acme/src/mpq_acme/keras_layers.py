"""What ACME's customers build their Keras models of."""

import tensorflow as tf
import tf_keras


@tf_keras.utils.register_keras_serializable("acme")
def swoosh(x):
    return x * tf.sigmoid(1.5 * x) + 0.25 * tf.exp(-x * x)


@tf_keras.utils.register_keras_serializable("acme")
class Swoosh(tf_keras.layers.Layer):
    def call(self, x):
        return swoosh(x)


@tf_keras.utils.register_keras_serializable("acme")
class Gate(tf_keras.layers.Layer):
    def call(self, inputs):
        return inputs[0] * tf.sigmoid(inputs[1])

"""Layers with every option, and every function of one element, in Keras."""

from __future__ import annotations

from mpq_tfmot.keras import keras, tf

layers = keras.layers
FUNCTIONS = ("sigmoid", "hard_sigmoid", "tanh", "swish", "gelu", "elu", "selu", "softplus", "softsign", "exponential")


def shapes():
    """Same padding, dilation, strides, a concat along height, padding, upsampling by unequal factors, a permute."""
    inputs = keras.Input((11, 10, 3), name="image")
    x = layers.Conv2D(4, 3, dilation_rate=2, padding="same", activation="relu", name="dilated")(inputs)
    x = layers.MaxPooling2D(3, 2, padding="same", name="max")(x)
    x = layers.AveragePooling2D(2, 2, padding="same", name="average")(x)
    y = layers.DepthwiseConv2D(3, strides=2, padding="same", name="strided")(x)
    y = layers.Conv2DTranspose(4, 3, strides=2, padding="valid", name="transposed")(y)
    x = layers.Concatenate(axis=1, name="cat")([layers.ZeroPadding2D(((0, 0), (1, 1)), name="pad")(x), y])
    x = layers.Permute((3, 1, 2), name="permute")(layers.UpSampling2D((2, 1), name="up")(x))
    return keras.Model(inputs, layers.Dense(4, name="fc")(layers.GlobalAveragePooling2D(name="mean")(x)))


def strides():
    """Unequal strides, an even depthwise window, a transposed convolution, a dense layer on every position."""
    x = inputs = keras.Input((11, 14, 3), name="image")
    x = layers.Conv2D(6, 3, strides=(2, 3), padding="same", activation="relu", name="strided")(x)
    x = layers.Conv2D(6, 3, dilation_rate=2, padding="same", name="dilated")(x)
    x = layers.DepthwiseConv2D(2, strides=2, padding="same", activation="relu6", name="depthwise")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="valid", name="up")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(x)
    return keras.Model(inputs, layers.Dense(5, name="output")(x))


def _strided(padding):
    inputs = keras.Input((11, 10, 3), name="image")
    x = layers.Conv2D(4, 3, dilation_rate=2, padding=padding, activation="relu", name="dilated")(inputs)
    x = layers.DepthwiseConv2D(3, strides=2, padding=padding, name="strided")(x)
    x = layers.DepthwiseConv2D(2, dilation_rate=2, padding="same", use_bias=False, name="holes")(x)
    return keras.Model(inputs, layers.Conv2DTranspose(2, 3, strides=2, padding=padding, name="transposed")(x))


def strided_same():
    """Dilated, strided and transposed convolutions, padded."""
    return _strided("same")


def strided_valid():
    """Dilated, strided and transposed convolutions, not padded."""
    return _strided("valid")


def signals():
    """One-dimensional layers with strides, dilation and padding; separable ones; upsampling."""
    x = inputs = keras.Input((24, 3), name="signal")
    x = layers.ZeroPadding1D((1, 2), name="pad")(x)
    x = layers.Conv1D(4, 3, strides=2, activation="relu", name="strided")(x)
    x = layers.SeparableConv1D(5, 3, padding="same", activation="relu6", name="separable")(x)
    x = layers.DepthwiseConv1D(3, strides=2, padding="same", name="depthwise")(x)
    x = layers.UpSampling1D(2, name="up")(x)
    x = layers.Conv1D(4, 3, dilation_rate=2, padding="same", name="dilated")(x)
    x = layers.MaxPooling1D(3, 2, padding="same", name="max")(layers.BatchNormalization(name="norm")(x))
    x = layers.AveragePooling1D(2, padding="same", name="average")(layers.SpatialDropout1D(0.1, name="drop")(x))
    return keras.Model(inputs, layers.Dense(3, name="fc")(layers.Permute((2, 1), name="turn")(x)))


def norms():
    """Batch norms behind an input, pooling, an add and layers; without scale, without shift."""
    x = inputs = keras.Input((6, 6, 3), name="image")
    x = layers.BatchNormalization(name="first")(x)
    x = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    y = layers.BatchNormalization(scale=False, name="unscaled")(x)
    x = layers.BatchNormalization(center=False, name="unshifted")(layers.MaxPooling2D(2, name="pool")(y))
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.BatchNormalization(epsilon=0.1, name="behind_depthwise")(x)
    x = layers.Conv2DTranspose(4, 3, 2, padding="same", name="up")(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="behind_up")(x))
    x = layers.BatchNormalization(name="behind_add")(layers.Add(name="add")([x, y]))
    x = layers.Dense(5, name="mix")(layers.GlobalAveragePooling2D(name="mean")(x))
    return keras.Model(inputs, layers.Dense(2, name="fc")(layers.BatchNormalization(name="behind_dense")(x)))


def functions():
    """A branch for every function of one element, as the activation of a layer."""
    inputs = keras.Input((6,), name="x")
    ends = [layers.Dense(3, activation=name, name=name)(inputs) for name in FUNCTIONS]
    return keras.Model(inputs, layers.Dense(2, name="fc")(layers.Concatenate(name="cat")(ends)))


def function_layers():
    """Functions of one element as layers: leaky, thresholded and sloped ReLUs, activations by name and as functions."""
    inputs = keras.Input((4, 4, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="a")(inputs)
    x = layers.Conv2D(4, 1, name="b")(layers.LeakyReLU(0.3, name="leaky")(x))
    x = layers.Conv2D(4, 1, name="c")(layers.ThresholdedReLU(0.5, name="thresholded")(x))
    x = layers.Conv2D(4, 1, name="d")(layers.ReLU(4.0, negative_slope=0.1, threshold=0.2, name="sloped")(x))
    x = layers.Conv2D(4, 1, name="e")(layers.Activation(tf.nn.silu, name="silu")(x))
    x = layers.Conv2D(4, 1, name="f")(layers.Activation("sigmoid", name="sigmoid")(x))
    return keras.Model(inputs, layers.Activation(keras.activations.tanh, name="tanh")(x))


def operators():
    """TensorFlow's functions and operators on Keras tensors."""
    inputs = keras.Input((4, 4, 3), name="image")
    x = tf.nn.relu(layers.Conv2D(4, 3, padding="same", name="a")(inputs))
    y = tf.nn.relu6(layers.Conv2D(4, 3, padding="same", name="b")(inputs))
    x = layers.Conv2D(4, 1, name="c")(tf.math.add(x + y, y))
    x = layers.Conv2D(4, 1, name="d")(tf.nn.sigmoid(x))
    x = layers.Conv2D(4, 1, name="e")(tf.math.tanh(x))
    return keras.Model(inputs, layers.Conv2D(2, 1, name="out")(tf.nn.elu(x)))


def clamps():
    """ReLUs with ceilings, on the input, behind pooling, and on both sides of an add."""
    inputs = keras.Input((6, 6, 2), name="image")
    x = layers.ReLU(2.0, name="on_input")(inputs)
    x = layers.ReLU(1.5, name="second")(layers.Conv2D(4, 3, name="a")(x))
    x = layers.ReLU(0.7, name="behind_pool")(layers.MaxPooling2D(2, name="pool")(x))
    y = layers.Add(name="add")([x, layers.Activation("relu6", name="six")(layers.Conv2D(4, 1, name="b")(x))])
    return keras.Model(inputs, layers.Conv2D(2, 1, activation="relu6", name="out")(layers.ReLU(1.0, name="last")(y)))


def nothings():
    """Layers that do nothing after training, and means that keep their axes."""
    x = inputs = keras.Input((6, 6, 2), name="image")
    x = layers.GaussianNoise(0.1, name="noise")(x)
    x = layers.SpatialDropout2D(0.1, name="spatial")(layers.Conv2D(4, 3, activation="linear", name="a")(x))
    x = layers.Activation("linear", name="linear")(layers.GaussianDropout(0.1, name="gaussian")(x))
    x = layers.ActivityRegularization(0.1, name="regular")(x)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    x = layers.Conv2D(4, 1, activation="relu", name="b")(x)
    return keras.Model(inputs, layers.Dense(3, name="fc")(layers.Reshape((4,), name="flat")(x)))


def concats():
    """Concats along width, channels and height, of the input, of one tensor twice, one behind the other."""
    inputs = keras.Input((4, 5, 2), name="image")
    a = layers.Conv2D(2, 1, activation="relu", name="a")(inputs)
    b = layers.Conv2D(2, 3, padding="same", name="b")(inputs)
    x = layers.Concatenate(axis=2, name="wide")([a, b, inputs])
    x = layers.Concatenate(axis=-1, name="deep")([x, x])
    x = layers.Concatenate(axis=1, name="high")([x, layers.Conv2D(4, 1, name="c")(x)])
    return keras.Model(inputs, layers.SeparableConv2D(3, 3, strides=2, use_bias=False, name="out")(x))


LAYERS = [shapes, strides, strided_same, strided_valid, signals, norms, functions, function_layers, operators, clamps]
LAYERS += [nothings, concats]

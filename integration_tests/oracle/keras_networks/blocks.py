"""Whole networks in Keras: what real models are made of, one thing after the other."""

from __future__ import annotations

from mpq_tfmot.keras import keras

layers = keras.layers


def residual():
    """Convolutions, batch norms, a residual add, pooling, a dense softmax."""
    x = inputs = keras.Input((9, 9, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(x)
    x = shortcut = layers.ReLU(name="relu1")(layers.BatchNormalization(name="bn1")(x))
    x = layers.Conv2D(8, 3, padding="same", name="conv2")(x)
    x = layers.Add(name="add")([layers.BatchNormalization(name="bn2")(x), shortcut])
    x = layers.AveragePooling2D(3, name="pool")(layers.Activation("relu", name="relu2")(x))
    return keras.Model(inputs, layers.Dense(5, activation="softmax", name="fc")(layers.Flatten(name="flat")(x)))


def hard_swish(x):
    """Hard-swish as a user writes it."""
    return x * keras.activations.relu(x + 3.0, max_value=6.0) / 6.0


def mobile():
    """Depthwise convolutions, ReLU6, hard-swish, a linear bottleneck with a residual, global pooling."""
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(x)
    x = layers.BatchNormalization(name="stem_bn")(layers.Conv2D(8, 3, 2, use_bias=False, name="stem")(x))
    x = shortcut = layers.Activation(hard_swish, name="stem_swish")(x)
    x = layers.BatchNormalization(name="expand_bn")(layers.Conv2D(16, 1, use_bias=False, name="expand")(x))
    x = layers.ReLU(6.0, name="expand_relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.ReLU(6.0, name="depthwise_relu")(layers.BatchNormalization(name="depthwise_bn")(x))
    x = layers.BatchNormalization(name="project_bn")(layers.Conv2D(8, 1, use_bias=False, name="project")(x))
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Add(name="add")([shortcut, x]))
    return keras.Model(inputs, layers.Dense(4, name="fc")(layers.Dropout(0.2, name="drop")(x)))


def branches():
    """A ReLU layer used twice, a concat, a second batch norm, a separable and a transposed convolution."""
    inputs = keras.Input((8, 8, 2), name="image")
    relu = layers.ReLU(name="relu")
    a = relu(layers.Conv2D(4, 1, name="a")(inputs))
    b = relu(layers.Conv2D(4, 3, padding="same", name="b")(inputs))
    x = layers.MaxPooling2D(2, name="pool")(layers.Concatenate(name="cat")([a, b]))
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.SeparableConv2D(6, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.UpSampling2D(2, name="up")(x)
    x = layers.Conv2DTranspose(3, 3, 2, padding="same", name="transposed")(x)
    x = layers.AveragePooling2D(4, padding="same", strides=3, name="average")(x)
    x = layers.Reshape((-1,), name="flat")(layers.Permute((3, 1, 2), name="permute")(x))
    return keras.Model(inputs, layers.Dense(3, activation="sigmoid", name="fc")(x))


def series():
    """A sequence of one-dimensional convolutions and pooling."""
    return keras.Sequential(
        [
            keras.Input((16, 3), name="signal"),
            layers.Conv1D(8, 3, padding="same", activation="relu", name="conv"),
            layers.MaxPooling1D(2, name="pool"),
            layers.DepthwiseConv1D(3, padding="same", name="depthwise"),
            layers.AveragePooling1D(2, name="average"),
            layers.GlobalAveragePooling1D(name="mean"),
            layers.Dense(4, name="fc"),
        ]
    )


def nested():
    """A model inside a model, a sequence inside that, and swish and tanh as functions of an element."""
    block_in = keras.Input((6, 6, 4), name="block_in")
    y = layers.Conv2D(4, 3, padding="same", activation="swish", name="conv")(block_in)
    inner = keras.Sequential([layers.Input((6, 6, 4)), layers.Conv2D(4, 1, name="mix"), layers.ReLU(name="act")])
    inner._name = "inner"
    block = keras.Model(block_in, layers.Add(name="add")([inner(y), block_in]), name="block")
    inputs = keras.Input((6, 6, 2), name="image")
    x = block(layers.Conv2D(4, 1, activation="tanh", name="stem")(inputs))
    return keras.Model(inputs, layers.Dense(3, name="fc")(layers.Flatten(name="flat")(x)))


def two_inputs_two_outputs():
    """Two inputs; two outputs, of which one is read inside."""
    a, b = keras.Input((6, 6, 3), name="a"), keras.Input((5,), name="b")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(a)
    middle = layers.GlobalAveragePooling2D(name="mean")(x)
    joined = layers.Concatenate(name="cat")([middle, layers.Dense(4, name="side")(b)])
    return keras.Model([a, b], [layers.Dense(2, name="fc")(joined), middle])


def crossing_relus():
    """Two ReLUs of one convolution, which nobody may fuse."""
    inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    y = layers.Add(name="add")([layers.ReLU(name="r")(x), layers.ReLU(1.0, name="r1")(x)])
    return keras.Model(inputs, layers.Dense(2, name="fc")(layers.Flatten(name="flat")(y)))


def relu_at_the_end():
    """Dense layers on vectors, one without a bias; the output is a ReLU."""
    steps = [keras.Input((4,), name="x"), layers.Dense(6, use_bias=False, name="first"), layers.ReLU(name="relu")]
    return keras.Sequential([*steps, layers.Dense(3, name="fc"), layers.ReLU(name="out")])


def shared_layers():
    """Layers without weights and a model of such called twice."""
    pool_in = keras.Input((8, 8, 3), name="pool_in")
    pools = keras.Model(pool_in, layers.MaxPooling2D(2, name="max")(layers.ReLU(name="relu")(pool_in)), name="pools")
    inputs = keras.Input((8, 8, 3), name="image")
    pad, average = layers.ZeroPadding2D(1, name="pad"), layers.AveragePooling2D(2, name="average")
    x = pools(layers.Conv2D(3, 1, name="a")(inputs))
    y = pools(layers.Conv2D(3, 3, padding="same", name="b")(inputs))
    x = layers.Add(name="add")([average(pad(x)), average(pad(y))])
    return keras.Model(inputs, layers.Conv2D(2, 3, name="out")(x))


def float_end():
    """A product and a softmax, which no file holds, behind the last weight."""
    inputs = keras.Input((5, 5, 2), name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    y = layers.Conv2D(4, 1, name="gate")(x)
    scaled = layers.Multiply(name="product")([x, y])
    return keras.Model(inputs, [layers.Softmax(name="softmax")(scaled), layers.Dense(2, name="fc")(x)])


def softmax_end():
    """A softmax layer behind one output, and none behind the other."""
    inputs = keras.Input((5, 5, 2), name="image")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    scores = layers.Dense(3, name="fc")(layers.GlobalAveragePooling2D(name="mean")(x))
    return keras.Model(inputs, [layers.Softmax(name="softmax")(scores), layers.Conv2D(2, 1, name="map")(x)])


BLOCKS = [residual, mobile, branches, series, nested, two_inputs_two_outputs, crossing_relus, relu_at_the_end]
BLOCKS += [shared_layers, float_end, softmax_end]

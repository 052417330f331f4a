"""What each Keras layer is in canonical ops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mpq_plugins.errors import UnsupportedOp
from mpq_tfmot.canonical_ops import Op
from mpq_tfmot.keras import tf

BATCH_NORM = "batch_norm"
UNKNOWN = "unknown"
NOTHING = (
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "ActivityRegularization",
)

Shape = tuple[int, ...]


CLAMPS: dict[str, tuple[float | None, float | None]] = {"relu": (0.0, None), "relu6": (0.0, 6.0)}
LOOKUPS = frozenset(
    [
        "hard_swish",
        "hardswish",
        "sigmoid",
        "hard_sigmoid",
        "tanh",
        "swish",
        "silu",
        "gelu",
        "elu",
        "selu",
        "softplus",
        "softsign",
        "exponential",
    ]
)
"""Functions of one element. On a grid they are tables."""


def ops_of(
    layer: Any,
    node: Any,
    name: str,
    inputs: tuple[str, ...],
    in_shapes: Sequence[Shape],
    shape: Shape,
    kernel: Any = None,
) -> list[Op]:
    """The canonical ops of one call of a layer, the last of which gives its output; none for a layer that does nothing.

    in_shapes, shape: of inputs and output for one sample. kernel: the weight, where it is not the layer's own.
    """
    kind = type(layer).__name__
    if kind in NOTHING or (kind == "Activation" and _activation_name(layer.activation) == "linear"):
        return []
    if kind in _WEIGHTED:
        return _weighted(layer, name, inputs, shape, kind, kernel)
    if kind in ("SeparableConv2D", "SeparableConv1D"):
        return _separable(layer, name, inputs, in_shapes[0], shape)
    if kind.startswith("BatchNormalization") or kind == "SyncBatchNormalization":
        options = {"statistics": _statistics(layer, name, shape), "rebuild": partial(_call_again, layer, name)}
        return [Op(name, BATCH_NORM, inputs, shape, options={**options, "weights": layer.get_weights()})]
    if kind == "Activation":
        return _activated([], layer.activation, name, inputs, shape)
    found = _unweighted(layer, node, kind, name, inputs, in_shapes, shape)
    found = found or Op(name, UNKNOWN, inputs, shape, options={"what": kind, "function": _caller(layer)})
    if found.kind == "add":
        return [found]
    again = partial(_recall, node) if kind == "TFOpLambda" else partial(_call_again, layer, name)
    return [replace(found, options={**found.options, "rebuild": again})]


_WEIGHTED = {
    "Conv1D": "conv1d",
    "Conv2D": "conv2d",
    "DepthwiseConv1D": "depthwise_conv1d",
    "DepthwiseConv2D": "depthwise_conv2d",
    "Conv2DTranspose": "conv_transpose2d",
    "Dense": "linear",
}


def _weighted(layer: Any, name: str, inputs: tuple[str, ...], shape: Shape, kind: str, kernel: Any) -> list[Op]:
    if kernel is None:
        kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
    weight = _array(kernel)
    bias = _array(layer.bias) if layer.use_bias else np.zeros(shape[-1])
    options: dict[str, Any] = {}
    if kind != "Dense":
        options = {"strides": layer.strides, "padding": layer.padding, "dilation": layer.dilation_rate}
        _check_convolution(layer, name, kind, weight)
    return _activated([Op(name, _WEIGHTED[kind], inputs, shape, weight, bias, options=options)], layer.activation, name)


def _check_convolution(layer: Any, name: str, kind: str, weight: Any) -> None:
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise UnsupportedOp(f"{name}: channels_first convolutions do not run on LiteRT; build it channels_last")
    if layer.padding not in ("same", "valid"):
        raise UnsupportedOp(
            f"{name}: padding {layer.padding!r} is none of LiteRT's; pad with ZeroPadding and use 'valid'"
        )
    if getattr(layer, "groups", 1) != 1:
        raise UnsupportedOp(
            f"{name}: a convolution in {layer.groups} groups; only depthwise and full ones run in integers"
        )
    if kind.startswith("Depthwise") and weight.shape[-1] != 1:
        raise UnsupportedOp(
            f"{name}: a depthwise multiplier of {weight.shape[-1]}; only 1 is known here. Repeat the input's channels "
            "with a 1x1 convolution instead"
        )
    if kind == "Conv2DTranspose" and (set(layer.dilation_rate) != {1} or layer.output_padding is not None):
        raise UnsupportedOp(f"{name}: LiteRT's transposed convolution has neither dilation nor output_padding")


def _separable(layer: Any, name: str, inputs: tuple[str, ...], in_shape: Shape, shape: Shape) -> list[Op]:
    flat = "1d" if len(shape) == 2 else "2d"
    depthwise = _array(layer.depthwise_kernel)
    _check_convolution(layer, name, "DepthwiseConv2D", depthwise)
    options = {"strides": layer.strides, "padding": layer.padding, "dilation": layer.dilation_rate}
    first = f"{name}.depthwise"
    channels = in_shape[-1]
    middle = (*shape[:-1], channels)
    bias = _array(layer.bias) if layer.use_bias else np.zeros(shape[-1])
    ops = [
        Op(first, f"depthwise_conv{flat}", inputs, middle, depthwise, np.zeros(channels), options=options),
        Op(f"{name}.pointwise", f"conv{flat}", (first,), shape, _array(layer.pointwise_kernel), bias),
    ]
    return _activated(ops, layer.activation, name)


def _activated(ops: list[Op], activation: Any, name: str, inputs: tuple[str, ...] = (), shape: Shape = ()) -> list[Op]:
    """The ops followed by an activation function, named after the layer if it is all that there is."""
    function = _activation_name(activation)
    if function == "linear":
        return ops
    own = f"{name}.activation" if ops else name
    inputs, shape = ((ops[-1].name,), ops[-1].shape) if ops else (inputs, shape)
    if function in CLAMPS:
        low, high = CLAMPS[function]
        return [*ops, Op(own, "relu", inputs, shape, low=low, high=high, options={"word": "relu"})]
    if function in LOOKUPS:
        word = "hardswish" if "swish" in function and "hard" in function else "lookup"
        options = {"function": activation, "word": word, "what": function}
        return [*ops, Op(own, "lookup", inputs, shape, options=options)]
    return [*ops, Op(own, UNKNOWN, inputs, shape, options={"what": function, "function": activation})]


def _activation_name(activation: Any) -> str:
    if activation is None:
        return "linear"
    if type(activation).__name__ in ("QuantizeAwareActivation", "NoOpActivation"):
        activation = getattr(activation, "activation", None)
    return str(getattr(activation, "__name__", type(activation).__name__))


def _unweighted(
    layer: Any, node: Any, kind: str, name: str, inputs: tuple[str, ...], in_shapes: Sequence[Shape], shape: Shape
) -> Op | None:
    if kind in ("ReLU", "LeakyReLU", "ThresholdedReLU"):
        return _relu(layer, kind, name, inputs, shape)
    if kind == "Add" and len(inputs) == 2 and in_shapes[0] == in_shapes[1]:
        return Op(name, "add", inputs, shape)
    if kind == "Concatenate":
        return Op(name, "concat", inputs, shape, options={"axis": layer.axis})
    if kind in ("MaxPooling2D", "MaxPooling1D", "AveragePooling2D", "AveragePooling1D"):
        options = {"pool": layer.pool_size, "strides": layer.strides, "padding": layer.padding}
        return Op(name, "max_pool" if kind.startswith("Max") else "avg_pool", inputs, shape, options=options)
    if kind in ("GlobalAveragePooling2D", "GlobalAveragePooling1D"):
        axes = tuple(range(1, len(in_shapes[0])))
        return Op(name, "global_avg_pool", inputs, shape, options={"axes": axes, "keepdims": bool(layer.keepdims)})
    if kind in ("ZeroPadding2D", "ZeroPadding1D"):
        pads = [layer.padding] if kind.endswith("1D") else layer.padding
        return Op(name, "pad", inputs, shape, options={"paddings": [*map(tuple, pads), (0, 0)]})
    if kind in ("Reshape", "Flatten"):
        return Op(name, "reshape", inputs, shape)
    if kind == "Permute":
        return Op(name, "reshape", inputs, shape, options={"permutation": (0, *layer.dims), "word": "reshape"})
    if kind in ("UpSampling2D", "UpSampling1D") and getattr(layer, "interpolation", "nearest") == "nearest":
        size = (layer.size,) if isinstance(layer.size, int) else tuple(layer.size)
        return Op(name, "upsample", inputs, shape, options={"repeats": size, "word": "reshape"})
    if kind == "TFOpLambda":
        return _function(layer, node, name, inputs, in_shapes, shape)
    return None


def _relu(layer: Any, kind: str, name: str, inputs: tuple[str, ...], shape: Shape) -> Op:
    plain = kind == "ReLU" and not float(layer.negative_slope) and not float(layer.threshold)
    if plain:
        high = None if layer.max_value is None else float(layer.max_value)
        return Op(name, "relu", inputs, shape, low=0.0, high=high, options={"word": "relu"})
    options = {"function": _caller(layer), "word": "lookup", "what": kind}
    return Op(name, "lookup", inputs, shape, options=options)


def _function(
    layer: Any, node: Any, name: str, inputs: tuple[str, ...], in_shapes: Sequence[Shape], shape: Shape
) -> Op | None:
    symbol = str(layer.symbol)
    if symbol in ("__operators__.add", "math.add") and len(inputs) == 2 and in_shapes[0] == in_shapes[1]:
        return Op(name, "add", inputs, shape)
    if symbol in ("nn.relu", "nn.relu6"):
        low, high = CLAMPS[symbol.removeprefix("nn.")]
        return Op(name, "relu", inputs, shape, low=low, high=high, options={"word": "relu"})
    what = symbol.split(".")[-1]
    if what in LOOKUPS and len(inputs) == 1:
        return Op(
            name,
            "lookup",
            inputs,
            shape,
            options={"function": lambda x: _recall(node, [x]), "word": "lookup", "what": what},
        )
    return Op(name, UNKNOWN, inputs, shape, options={"what": symbol, "function": lambda *x: _recall(node, x)})


def _recall(node: Any, tensors: Sequence[Any]) -> Any:
    """Call a function layer again with other tensors in the place of those that it was called with."""
    by_id = {id(old): new for old, new in zip(node.keras_inputs, tensors, strict=True)}
    args, kwargs = tf.nest.map_structure(lambda a: by_id.get(id(a), a), (node.call_args, node.call_kwargs))
    return node.layer(*args, **kwargs)


def _call_again(layer: Any, name: str, tensors: Sequence[Any]) -> Any:
    """Call a new layer of the same configuration."""
    fresh = type(layer).from_config({**layer.get_config(), "name": name})
    return fresh(tensors[0] if len(tensors) == 1 else list(tensors))


def _caller(layer: Any) -> Any:
    return lambda *x: (
        layer(x[0] if len(x) == 1 else list(x), training=False)
        if _trains(layer)
        else layer(x[0] if len(x) == 1 else list(x))
    )


def _trains(layer: Any) -> bool:
    return bool(getattr(layer, "_expects_training_arg", False))


def _statistics(layer: Any, name: str, shape: Shape) -> tuple[Any, ...]:
    axis = list(layer.axis) if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if axis != [len(shape)] and axis != [-1]:
        raise UnsupportedOp(f"{name}: a batch norm along axis {axis}; only the last axis can be folded")
    channels = shape[-1]
    gamma = _array(layer.gamma) if layer.scale else np.ones(channels)
    beta = _array(layer.beta) if layer.center else np.zeros(channels)
    return gamma, beta, _array(layer.moving_mean), _array(layer.moving_variance), float(layer.epsilon)


def _array(variable: Any) -> Any:
    return np.asarray(variable.numpy(), dtype=np.float64)

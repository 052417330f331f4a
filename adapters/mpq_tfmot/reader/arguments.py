"""All that a layer or function was called with besides tensors, defaults too, as plain values."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mpq_tfmot.keras import keras, tf

BESIDES = ("name", "trainable", "dtype", "batch_input_shape")
"""What the configuration of every layer says, and what says nothing of its function."""
ALONG_LAST = ("softmax", "log_softmax")
"""Functions whose axis is the last one where none is given."""


def of_activation(what: str, function: Any) -> Mapping[str, Any] | None:
    """Of Keras' own activation function of that name; None of any other."""
    own = (getattr(keras.activations, what, None), getattr(tf.nn, what, None))
    if not any(known is not None and function is known for known in own):
        return None
    return _settled(what, _defaults(function))


def of_layer(layer: Any) -> Mapping[str, Any] | None:
    """Of a layer without weights; None of one with weights, which are no plain values."""
    if layer.weights:
        return None
    config = {key: value for key, value in layer.get_config().items() if key not in BESIDES}
    return config if all(_plain(value) for value in config.values()) else None


def of_call(what: str, node: Any) -> Mapping[str, Any] | None:
    """Of a TensorFlow function that was called on Keras tensors."""
    try:
        bound = inspect.signature(node.layer.function).bind(*node.call_args, **node.call_kwargs)
    except (TypeError, ValueError):
        return None
    bound.apply_defaults()
    read = {id(tensor) for tensor in node.keras_inputs}
    given = {key: value for key, value in bound.arguments.items() if id(value) not in read and key != "name"}
    return _settled(what, given) if all(_plain(value) for value in given.values()) else None


def _defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name != "name"}


def _settled(what: str, given: dict[str, Any]) -> dict[str, Any]:
    if what in ALONG_LAST and given.get("axis") is None:
        given["axis"] = -1
    return given


def _plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_plain(each) for each in value)
    return value is None or isinstance(value, (bool, int, float, str))

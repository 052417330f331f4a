"""Functions of Keras and TensorFlow without a record, as a word of the core and all of their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.node import Operand
from mpq_tfmot.keras import keras, tf

_BINARY = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "truediv": "div"}
_OPERATORS = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div"}
_UNARY = {"exp": "exponential", "log": "log", "sqrt": "sqrt", "abs": "abs", "negative": "neg"}
_SOFTMAX = {"logits": "input", "axis": "axis"}

FUNCTIONS: dict[str, tuple[str, Mapping[str, str]]] = {
    "nn.softmax": ("softmax", _SOFTMAX),
    "nn.log_softmax": ("log_softmax", _SOFTMAX),
    "clip_by_value": ("clip", {"t": "input", "clip_value_min": "low", "clip_value_max": "high"}),
    **{f"math.{name}": (word, {"x": "input", "y": "other"}) for name, word in _BINARY.items()},
    **{f"__operators__.{name}": (word, {"x": "input", "y": "other"}) for name, word in _OPERATORS.items()},
    **{f"math.{name}": (word, {"x": "input"}) for name, word in _UNARY.items()},
    "__operators__.neg": ("neg", {"x": "input"}),
}
"""By TensorFlow's symbol: the core's word, and the core's name for each argument, in TensorFlow's order."""

LAYERS: dict[str, tuple[str, Mapping[str, str]]] = {
    "Softmax": ("softmax", {"axis": "axis"}),
    "Multiply": ("mul", {}),
    "Subtract": ("sub", {}),
    "Add": ("add", {}),
}
"""By the class of a layer of Keras' own: the word, and the attributes that are arguments."""


def of_activation(activation: Any, rank: int) -> dict[str, Any]:
    """The attrs "function" and "arguments" of an activation; none where it is not known here."""
    for word, functions in {
        "softmax": (keras.activations.softmax, tf.nn.softmax),
        "log_softmax": (tf.nn.log_softmax,),
    }.items():
        if any(activation is function for function in functions):
            return _described(word, {"input": Operand(0), "axis": -1}, rank)
    return {}


def of_layer(layer: Any, count: int, rank: int) -> dict[str, Any]:
    """The same of a layer of Keras' own that reads so many tensors; rank: of the first."""
    kind = type(layer)
    if kind.__name__ not in LAYERS or getattr(keras.layers, kind.__name__, None) is not kind:
        return {}
    word, names = LAYERS[kind.__name__]
    operands = dict(zip(("input", "other"), map(Operand, range(count)), strict=False))
    if count > 2 or (count == 2) != (not names):
        return {}
    return _described(word, {**operands, **{core: getattr(layer, name) for name, core in names.items()}}, rank)


def of_call(symbol: str, tensors: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a call of one of TensorFlow's functions on Keras tensors."""
    if symbol not in FUNCTIONS:
        return {}
    word, names = FUNCTIONS[symbol]
    if len(args) > len(names):
        return {}
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if "softmax" in word:
        given.setdefault("axis", -1)
    arguments: dict[str, Any] = {}
    for name, value in given.items():
        if name == "name" or value is None:
            continue
        found = next((index for index, tensor in enumerate(tensors) if tensor is value), None)
        arguments[names.get(name, name)] = value if found is None else Operand(found)
        if found is None and (tf.is_tensor(value) or isinstance(value, tf.Variable)):
            arguments[names.get(name, name)] = np.asarray(value)
    return _described(word, arguments, len(tensors[0].shape))


def _described(word: str, arguments: Mapping[str, Any], rank: int) -> dict[str, Any]:
    if "axis" in arguments and isinstance(arguments["axis"], int):
        arguments = {**arguments, "axis": arguments["axis"] % rank}
    return {"function": word, "arguments": dict(arguments)}

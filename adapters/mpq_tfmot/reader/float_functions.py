"""Functions of Keras and TensorFlow without a record, as a word of the core and all of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Operand
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.float_logic import of_logic
from mpq_tfmot.reader.float_ordering import of_ordering
from mpq_tfmot.reader.record import is_symbol
from mpq_tfmot.reader.recurrence_layer import Recurrence

_BINARY = {"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "truediv": "div"}
_OPERATORS = {"add": "add", "sub": "sub", "mul": "mul", "truediv": "div"}
_UNARY = {"exp": "exponential", "log": "log", "sqrt": "sqrt", "abs": "abs", "negative": "neg"}
_MATMUL = {"a": "input", "b": "other", "turn_a": "turn_input", "turn_b": "turn_other"}
_SOFTMAX = {"logits": "input", "axis": "axis"}

FUNCTIONS: dict[str, tuple[str, Mapping[str, str]]] = {
    "nn.softmax": ("softmax", _SOFTMAX),
    "nn.log_softmax": ("log_softmax", _SOFTMAX),
    "linalg.matmul": ("matmul", _MATMUL),
    **dict.fromkeys(
        ("math.l2_normalize", "nn.l2_normalize"), ("normalize", {"x": "input", "axis": "axis", "epsilon": "epsilon"})
    ),
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


def _layer_norm(layer: Any) -> tuple[str, dict[str, Any]]:
    axes = [int(axis) for axis in (layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis])]
    rank = len(layer.input_spec.shape) if layer.input_spec and layer.input_spec.shape else len(layer.input_shape)
    first = rank - len(axes)
    if sorted(axis % rank for axis in axes) != list(range(first, rank)):
        return "", {}
    sizes = [int(size) for size in layer.input_shape[first:]]
    return "layer_norm", {"axis": first, "epsilon": float(layer.epsilon), **_affine(layer, sizes)}


def _embedding(layer: Any) -> tuple[str, dict[str, Any]]:
    return "embedding", {"weight": np.asarray(layer.embeddings)}


def _group_norm(layer: Any) -> tuple[str, dict[str, Any]]:
    rank = len(layer.input_shape)
    if int(layer.axis) % rank != rank - 1:
        return "", {}
    channels = int(layer.input_shape[-1])
    groups = channels if layer.groups == -1 else int(layer.groups)
    parts = _affine(layer, [channels])
    return "group_norm", {"groups": groups, "epsilon": float(layer.epsilon), "channels_last": rank, **parts}


def _affine(layer: Any, sizes: Sequence[int]) -> dict[str, NDArray[Any]]:
    """What a norm multiplies with and adds, of these sizes."""
    return {
        word: np.zeros(sizes) + (plain if own is None else np.asarray(own).reshape(sizes))
        for word, own, plain in (("weight", layer.gamma, 1.0), ("bias", layer.beta, 0.0))
    }


def _unit_norm(layer: Any) -> tuple[str, dict[str, Any]]:
    """Keras bounds the sum of the squares, and not its root."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if len(axes) != 1:
        return "", {}
    return "normalize", {"axis": int(axes[0]) % len(layer.input_shape), "epsilon": 1e-6}


_GATES = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}
"""ONNX's order of gates, by Keras': input, output, forget and cell; those of a GRU are as Keras has them."""


def _both_ways(layer: Any) -> tuple[str, dict[str, Any]]:
    """A Bidirectional that joins what both ways give."""
    (word, first), (other, second) = _recurrent(layer.forward_layer), _recurrent(layer.backward_layer, turned=True)
    if layer.merge_mode != "concat" or not word or word != other:
        return "", {}
    layers = [tuple(map(np.concatenate, zip(first["layers"][0], second["layers"][0], strict=True)))]
    return word, {**first, "layers": layers}


def _recurrent(layer: Any, turned: bool = False) -> tuple[str, dict[str, Any]]:
    """turned: of the second way of a Bidirectional, which goes backwards."""
    word = type(layer).__name__.lower()
    if word not in ("lstm", "gru") or layer.go_backwards != turned:
        return "", {}
    plain = layer.activation is keras.activations.tanh and layer.recurrent_activation is keras.activations.sigmoid
    if not plain or layer.return_state or layer.stateful or layer.time_major:
        return "", {}
    kernel, recurrence, *bias = (np.asarray(weight) for weight in layer.get_weights())
    rows = kernel.shape[1]
    both = np.zeros((2, rows))
    if bias:
        both[: np.atleast_2d(bias[0]).shape[0]] = bias[0]
    biases = np.concatenate([_in_order(b, word) for b in both])
    parts = (_in_order(kernel.T, word)[None], _in_order(recurrence.T, word)[None], biases[None])
    arguments = {"layers": [parts], "batch_first": True, "last": not layer.return_sequences}
    return word, arguments | ({"reset_after": layer.reset_after} if word == "gru" else {})


def _recurrence(layer: Any) -> tuple[str, dict[str, Any]]:
    """What goes on from step to step, whose gates come as they are."""
    recurrence, own = (np.asarray(weight) for weight in layer.get_weights())
    rows, bias = recurrence.shape[1], np.zeros(2 * recurrence.shape[1])
    bias[len(bias) - len(own) :] = own if layer.kind == "gru" else 0.0
    parts = (_in_order(np.eye(rows), layer.kind)[None], _in_order(recurrence.T, layer.kind)[None], bias[None])
    arguments = {"layers": [parts], "batch_first": True, "last": not layer.sequences}
    return layer.kind, arguments | ({"reset_after": layer.reset_after} if layer.kind == "gru" else {})


def _in_order(rows: NDArray[Any], word: str) -> NDArray[Any]:
    """The rows of Keras' gates in ONNX's order."""
    gates = _GATES[word]
    parts = np.split(rows, len(gates))
    return np.concatenate([parts[gate] for gate in gates])


SPECIAL: Mapping[type, Callable[[Any], tuple[str, dict[str, Any]]]] = {
    keras.layers.LayerNormalization: _layer_norm,
    keras.layers.Embedding: _embedding,
    keras.layers.Bidirectional: _both_ways,
    keras.layers.GroupNormalization: _group_norm,
    keras.layers.UnitNormalization: _unit_norm,
    keras.layers.LSTM: _recurrent,
    keras.layers.GRU: _recurrent,
    Recurrence: _recurrence,
}
"""Layers whose arguments are no attributes: the word and the arguments; no word where the core has none."""


def of_activation(activation: Any, rank: int) -> dict[str, Any]:
    """The attrs "function" and "arguments" of an activation; none where it is not known here."""
    for word, functions in {
        "softmax": (keras.activations.softmax, tf.nn.softmax),
        "log_softmax": (tf.nn.log_softmax,),
    }.items():
        if any(activation is function for function in functions):
            return _described(word, {"input": Operand(0), "axis": -1}, rank)
    return {}


def _dot(layer: Any, count: int, rank: int) -> dict[str, Any]:
    """keras.layers.Dot of matrices along one axis of each."""
    axes = [int(axis) % 3 for axis in (layer.axes if isinstance(layer.axes, (list, tuple)) else [layer.axes] * 2)]
    if count != 2 or rank != 3 or layer.normalize or 0 in axes:
        return {}
    turns = {"turn_input": axes[0] == 1, "turn_other": axes[1] == 2}
    turned = {key: [0, 2, 1] for key, wanted in turns.items() if wanted}
    return {"function": "matmul", "arguments": {"input": Operand(0), "other": Operand(1), **turned}}


OF_SEVERAL: Mapping[type, Callable[[Any, int, int], dict[str, Any]]] = {keras.layers.Dot: _dot}
"""Layers of several tensors that are matrix products."""


def of_layer(layer: Any, count: int, rank: int) -> dict[str, Any]:
    """The same of a layer of Keras' own that reads so many tensors; rank: of the first."""
    kind = type(layer)
    if kind in OF_SEVERAL:
        return OF_SEVERAL[kind](layer, count, rank)
    special = SPECIAL.get(kind)
    if special is not None:
        word, arguments = special(layer)
        return {"function": word, "arguments": {"input": Operand(0), **arguments}} if word and count == 1 else {}
    if kind.__name__ not in LAYERS or getattr(keras.layers, kind.__name__, None) is not kind:
        return {}
    word, names = LAYERS[kind.__name__]
    attributes = {core: getattr(layer, name) for name, core in names.items()}
    if isinstance(attributes.get("axis"), (list, tuple)) and len(attributes["axis"]) == 1:
        (attributes["axis"],) = attributes["axis"]
    if not isinstance(attributes.get("axis", 0), int):
        return {}
    operands = dict(zip(("input", "other"), map(Operand, range(count)), strict=False))
    if count > 2 or (count == 2) != (not names):
        return {}
    return _described(word, {**operands, **attributes}, rank)


def of_call(symbol: str, tensors: Sequence[Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a call of one of TensorFlow's functions on Keras tensors."""
    if symbol == "einsum" and len(args) == 3 and len(tensors) == 2:
        return {"function": "einsum", "arguments": {"equation": args[0], "input": Operand(0), "other": Operand(1)}}
    if symbol.removeprefix("compat.v1.") in ("gather", "nn.embedding_lookup") and len(tensors) == 1:
        return _gathered(tensors[0], args, kwargs)
    if symbol.removeprefix("compat.v1.") == "pad":
        return _padded(*args, **kwargs)
    if symbol not in FUNCTIONS:
        return of_ordering(symbol, tensors, args, kwargs) or of_logic(symbol, tensors, args, kwargs)
    word, names = FUNCTIONS[symbol]
    if len(args) > len(names):
        return {}
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if "softmax" in word:
        given.setdefault("axis", -1)
    arguments: dict[str, Any] = {}
    if word == "normalize":
        axes = np.ravel(given["axis"])
        if given.get("axis") is None or len(axes) != 1:
            return {}
        # TensorFlow bounds the sum of the squares, and not its root
        given |= {"axis": int(axes[0]), "epsilon": float(np.sqrt(given.get("epsilon", 1e-12)))}
    if word == "matmul":
        rank = len(tensors[0].shape)
        turned = [*range(rank - 2), rank - 1, rank - 2]
        given |= {f"turn_{part}": turned for part in "ab" if given.pop(f"transpose_{part}", False)}
    for name, value in given.items():
        if name == "name" or value is None:
            continue
        found = next((index for index, tensor in enumerate(tensors) if tensor is value), None)
        arguments[names.get(name, name)] = value if found is None else Operand(found)
        if found is None and (tf.is_tensor(value) or isinstance(value, tf.Variable)):
            arguments[names.get(name, name)] = np.asarray(value)
    if word == "clip" and any(np.size(arguments[side]) > 1 for side in ("low", "high")):
        return {}
    return _described(word, arguments, len(tensors[0].shape))


def _padded(
    tensor: Any, paddings: Any, mode: str = "CONSTANT", name: Any = None, constant_values: Any = 0
) -> dict[str, Any]:
    """tf.pad with a number."""
    if mode.upper() != "CONSTANT" or is_symbol(paddings) or is_symbol(constant_values):
        return {}
    pads = [tuple(map(int, sides)) for sides in np.asarray(paddings)]
    return {"function": "pad", "arguments": {"input": Operand(0), "pads": pads, "value": float(constant_values)}}


def _gathered(indices: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Rows of a table of the model's own."""
    given = [*args, *(kwargs[key] for key in ("params", "indices", "ids") if key in kwargs)]
    others = [value for key, value in kwargs.items() if key not in ("params", "indices", "ids", "name")]
    if len(given) < 2 or given[1] is not indices or any(value not in (None, 0) for value in (*given[2:], *others)):
        return {}
    table = np.asarray(given[0])
    return {} if table.ndim != 2 else {"function": "embedding", "arguments": {"input": Operand(0), "weight": table}}


def row(table: Any, indices: Any) -> Any:
    """Rows by whole numbers, which the tensors of a graph hold as floats."""
    return tf.gather(table, tf.cast(indices, tf.int32))


def _described(word: str, arguments: Mapping[str, Any], rank: int) -> dict[str, Any]:
    if "axis" in arguments and isinstance(arguments["axis"], int):
        arguments = {**arguments, "axis": arguments["axis"] % rank}
    return {"function": word, "arguments": dict(arguments)}

"""Keras' recurrent layers taken apart, so that their products can be quantized.

A layer is its cells, one for each step, of two dense layers that all of them share, functions of one element, sums and
products. The steps have to be as many at every call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpq_plugins.graph.recurrence import MOST_STEPS, gru_output, lstm_step
from mpq_tfmot.keras import keras, tf

MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "concat": lambda a, b: tf.concat([a, b], -1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) * 0.5,
}
"""What a Bidirectional makes of both directions."""


def recurrent(layer: Any, x: Any) -> Callable[[Any], Any] | None:
    """What an LSTM, a GRU, or both ways of one compute, of symbols; None for one that is another function here.

    x: the symbol that it reads, without initial states.
    """
    if isinstance(x, (list, tuple)) or len(x.shape) != 3 or x.shape[1] is None or x.shape[1] > MOST_STEPS:
        return None
    if not isinstance(layer, keras.layers.Bidirectional):
        return (lambda x: _series(layer, x)) if _plain(layer) else None
    ways = (layer.forward_layer, layer.backward_layer)
    if layer.merge_mode not in MERGES or not all(map(_plain, ways)):
        return None
    return lambda x: MERGES[layer.merge_mode](_series(ways[0], x), _series(ways[1], x, True))


def _plain(layer: Any) -> bool:
    known = type(layer) in (keras.layers.LSTM, keras.layers.GRU)
    return known and not (layer.return_state or layer.stateful or layer.time_major)


def _series(layer: Any, x: Any, turned: bool = False) -> Any:
    """All outputs, in the order of the steps, or the last one. turned: of the second direction of a Bidirectional."""
    lstm = isinstance(layer, keras.layers.LSTM)
    read, again, own = _dense(layer, lstm)
    step, state, found = (_lstm if lstm else _gru), None, []
    order = range(x.shape[1])[::-1] if layer.go_backwards else range(x.shape[1])
    for index in order:
        state = step(layer, read(x[:, index]), state, again, own)
        found.append(state[0])
    if not layer.return_sequences:
        return found[-1]
    return tf.stack(found[::-1] if turned else found, 1)


def _dense(layer: Any, lstm: bool) -> tuple[Any, Any, Any]:
    """The layers of what is read and of what is remembered, and the bias of a GRU's candidate that is inside a product.

    All other biases are those of what is read.
    """
    kernel, recurrence, *bias = (np.asarray(weight) for weight in layer.get_weights())
    (features, rows), units = kernel.shape, recurrence.shape[0]
    both = np.zeros((2, rows), np.float32)
    if bias:
        both[: np.atleast_2d(bias[0]).shape[0]] = bias[0]
    own = np.zeros(rows, np.float32)
    if not lstm:
        own[2 * units :] = both[1, 2 * units :]
    parts = [_layer(f"{layer.name}.read", kernel, both.sum(0) - own, features)]
    if lstm or layer.reset_after:
        parts.append(_layer(f"{layer.name}.again", recurrence, own, units))
        return parts[0], parts[1], own[2 * units :]
    gates, candidate = recurrence[:, : 2 * units], recurrence[:, 2 * units :]
    parts.append(_layer(f"{layer.name}.gates", gates, np.zeros(2 * units, np.float32), units))
    parts.append(_layer(f"{layer.name}.candidate", candidate, np.zeros(units, np.float32), units))
    return parts[0], tuple(parts[1:]), own[2 * units :]


def _layer(name: str, kernel: Any, bias: Any, features: int) -> Any:
    made = keras.layers.Dense(kernel.shape[1], name=name)
    made.build((None, features))
    made.set_weights([kernel, bias])
    return made


def _lstm(layer: Any, x: Any, state: Any, again: Any, own: Any) -> tuple[Any, Any]:
    n = layer.units
    gates = x if state is None else x + again(state[0])
    parts = [gates[:, index * n : (index + 1) * n] for index in range(4)]
    return lstm_step(parts, None if state is None else state[1], layer.recurrent_activation, layer.activation)


def _gru(layer: Any, x: Any, state: Any, again: Any, own: Any) -> tuple[Any]:
    n, gate = layer.units, layer.recurrent_activation
    if state is None:
        update, reset = gate(x[:, :n]), gate(x[:, n : 2 * n])
        new = layer.activation(x[:, 2 * n :] + reset * own if np.any(own) else x[:, 2 * n :])
        return (gru_output(new, update, None),)
    (before,) = state
    if layer.reset_after:
        remembered = again(before)
        update, reset = gate(x[:, :n] + remembered[:, :n]), gate(x[:, n : 2 * n] + remembered[:, n : 2 * n])
        new = layer.activation(x[:, 2 * n :] + reset * remembered[:, 2 * n :])
    else:
        gates = again[0](before)
        update, reset = gate(x[:, :n] + gates[:, :n]), gate(x[:, n : 2 * n] + gates[:, n:])
        new = layer.activation(x[:, 2 * n :] + again[1](reset * before))
    return (gru_output(new, update, before),)

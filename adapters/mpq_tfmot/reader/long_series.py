"""Keras' LSTM and GRU over long series: the products with what is read apart from what goes on from step to step.

What a layer multiplies its input with does not depend on its states: it is one dense layer over all steps, which can be
quantized. The rest stays float.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpq_plugins.graph.recurrence import READ_APART
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.recurrence_layer import Recurrence


def apart(layer: Any, x: Any) -> Callable[[Any], Any] | None:
    """What a recurrent layer that the core has a function for, or both ways of one, computes of a long series; None of
    a short one."""
    if x.shape[1] is None or x.shape[1] <= READ_APART:
        return None
    if not isinstance(layer, keras.layers.Bidirectional):
        return lambda given: _one_way(layer, "", given)
    one, other = layer.forward_layer, layer.backward_layer

    def both(given: Any) -> Any:
        first = _one_way(one, f"{one.name}.", given)
        second = _one_way(other, f"{other.name}.", given[:, ::-1])
        return tf.concat([first, second[:, ::-1] if layer.return_sequences else second], -1)

    return both


def _one_way(layer: Any, scope: str, x: Any) -> Any:
    """scope: in front of the names of both parts."""
    kernel, recurrence, *bias = (np.asarray(weight) for weight in layer.get_weights())
    units, rows = layer.units, kernel.shape[1]
    read, again = np.zeros((2, rows), np.float32) if not bias else _biases(bias[0], rows)
    own = np.zeros(units, np.float32)
    if isinstance(layer, keras.layers.GRU):  # the candidate's is inside of a product
        own, again = again[2 * units :], np.concatenate([again[: 2 * units], np.zeros(units, np.float32)])
    dense = keras.layers.Dense(rows, name=f"{scope}read")
    gates = dense(x)
    dense.set_weights([kernel, read + again])
    kind, options = type(layer).__name__.lower(), {"reset_after": getattr(layer, "reset_after", True)}
    rest = Recurrence(kind, units, layer.return_sequences, **options, name=f"{scope}again")
    found = rest(gates)
    rest.set_weights([recurrence, own])
    return found


def _biases(bias: Any, rows: int) -> Any:
    """Of what is read, and of the states, which one of Keras' layers has alone."""
    both = np.atleast_2d(bias)
    return both if len(both) > 1 else np.concatenate([both, np.zeros((1, rows), both.dtype)])

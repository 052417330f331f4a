"""Keras' recurrent cells as two layers, functions of one element, sums and products: one step of a series each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.recurrence import gru_output, lstm_step, simple_step
from mpq_tfmot.keras import keras, tf

States = Sequence[Any]
Step = Callable[[Any, "States | None"], tuple[Any, States]]
"""What is read, and the states before it, None for zeros -> the output, and the states."""
DENSE = (keras.layers.SimpleRNNCell, keras.layers.LSTMCell, keras.layers.GRUCell)


def step_of(cell: Any, name: str) -> Step | None:
    """One step of a cell, whose layers are named after ``name``; None of one of Keras' own without a form here."""
    kind = type(cell)
    if kind is keras.layers.StackedRNNCells:
        inner = [step_of(each, f"{name}.{index}") for index, each in enumerate(cell.cells)]
        return None if None in inner else _stacked([each for each in inner if each is not None], cell.cells)
    if kind.__name__ == "ConvLSTMCell":
        return _of_images(cell, name)
    if kind.__module__.partition(".")[0] not in ("tf_keras", "keras"):
        return _of_users(cell)
    if not issubclass(kind, DENSE):
        return None
    if isinstance(cell, keras.layers.GRUCell):
        return _gru(cell, name)
    kernel, recurrence, *bias = (np.asarray(weight) for weight in cell.get_weights())
    read = _dense(f"{name}.read", kernel, bias[0] if bias else np.zeros(kernel.shape[1]))
    again = _dense(f"{name}.again", recurrence, np.zeros(recurrence.shape[1]))
    if isinstance(cell, keras.layers.LSTMCell):
        return _lstm(cell, read, again, cell.units)

    def step(x: Any, states: States | None) -> tuple[Any, States]:
        found = simple_step(read(x), None if states is None else again(states[0]), cell.activation)
        return found, (found,)

    return step


def _of_users(cell: Any) -> Step:
    """A cell of a user's own: what its call makes of what is read and the states, which are zeros first."""
    options = {"training": False} if "training" in inspect.signature(cell.call).parameters else {}

    def step(x: Any, states: States | None) -> tuple[Any, States]:
        if states is None:
            begin = getattr(cell, "get_initial_state", None)
            samples = tf.shape(x)[0]
            zeros = keras.src.layers.rnn.rnn_utils.generate_zero_filled_state
            first = begin(None, samples, x.dtype) if begin else zeros(samples, cell.state_size, x.dtype)
            states = first if isinstance(first, (list, tuple)) else [first]
        output, after = cell.call(x, states, **options)
        return output, after if isinstance(after, (list, tuple)) else (after,)

    return step


def _stacked(steps: list[Step], cells: Sequence[Any]) -> Step:
    """One cell behind another; the states are those of all, in their order."""
    counts = [len(cell.state_size) if isinstance(cell.state_size, (list, tuple)) else 1 for cell in cells]

    def step(x: Any, states: States | None) -> tuple[Any, States]:
        found: list[Any] = []
        for inner, count in zip(steps, counts, strict=True):
            x, after = inner(x, None if states is None else states[len(found) : len(found) + count])
            found += after
        return x, tuple(found)

    return step


def _of_images(cell: Any, name: str) -> Step | None:
    """An LSTM whose products are convolutions."""
    if cell.data_format != "channels_last" or cell.rank > 2:
        return None
    kernel, recurrence, *bias = (np.asarray(weight) for weight in cell.get_weights())
    made = keras.layers.Conv1D if cell.rank == 1 else keras.layers.Conv2D
    geometry = {"strides": cell.strides, "padding": cell.padding, "dilation_rate": cell.dilation_rate}
    layers = []
    for own, weight, more, shift in (
        ("read", kernel, geometry, bias[0] if bias else np.zeros(kernel.shape[-1])),
        ("again", recurrence, {"padding": "same"}, np.zeros(recurrence.shape[-1])),
    ):
        layer = made(weight.shape[-1], weight.shape[:-2], name=f"{name}.{own}", **more)
        layer.build((None, *(None,) * cell.rank, weight.shape[-2]))
        layer.set_weights([weight, shift])
        layers.append(layer)
    return _lstm(cell, layers[0], layers[1], cell.filters)


def _lstm(cell: Any, read: Any, again: Any, units: int) -> Step:
    def step(x: Any, states: States | None) -> tuple[Any, States]:
        gates = read(x) if states is None else read(x) + again(states[0])
        parts = [gates[..., index * units : (index + 1) * units] for index in range(4)]
        found = lstm_step(parts, None if states is None else states[1], cell.recurrent_activation, cell.activation)
        return found[0], found

    return step


def _gru(cell: Any, name: str) -> Step:
    """The bias of the candidate that is inside a product stays there; all others are those of what is read."""
    kernel, recurrence, *bias = (np.asarray(weight) for weight in cell.get_weights())
    n, gate, rows = cell.units, cell.recurrent_activation, kernel.shape[1]
    both, own = np.zeros((2, rows), np.float32), np.zeros(rows, np.float32)
    if bias:
        both[: np.atleast_2d(bias[0]).shape[0]] = bias[0]
    own[2 * n :] = both[1, 2 * n :]
    candidate = own[2 * n :]
    read = _dense(f"{name}.read", kernel, both.sum(0) - own)
    if cell.reset_after:
        again = _dense(f"{name}.again", recurrence, own)
    else:
        gates = _dense(f"{name}.gates", recurrence[:, : 2 * n], np.zeros(2 * n))
        new = _dense(f"{name}.candidate", recurrence[:, 2 * n :], np.zeros(n))

    def step(x: Any, states: States | None) -> tuple[Any, States]:
        x = read(x)
        if states is None:
            update, reset = gate(x[:, :n]), gate(x[:, n : 2 * n])
            inside = x[:, 2 * n :] + reset * candidate if np.any(candidate) else x[:, 2 * n :]
            found = gru_output(cell.activation(inside), update, None)
            return found, (found,)
        (before,) = states
        remembered = again(before) if cell.reset_after else gates(before)
        update, reset = gate(x[:, :n] + remembered[:, :n]), gate(x[:, n : 2 * n] + remembered[:, n : 2 * n])
        inside = reset * remembered[:, 2 * n :] if cell.reset_after else new(reset * before)
        found = gru_output(cell.activation(x[:, 2 * n :] + inside), update, before)
        return found, (found,)

    return step


def _dense(name: str, kernel: Any, bias: Any) -> Any:
    made = keras.layers.Dense(kernel.shape[1], name=name)
    made.build((None, kernel.shape[0]))
    made.set_weights([kernel, np.asarray(bias, np.float32)])
    return made

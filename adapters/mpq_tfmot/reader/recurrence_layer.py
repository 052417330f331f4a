"""What goes on from step to step in Keras' LSTM and GRU, as a layer of its own."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.recurrence import gru_output, lstm_step
from mpq_tfmot.keras import keras, tf


@keras.utils.register_keras_serializable(package="mpq")
class Recurrence(keras.layers.Layer):  # type: ignore[misc]
    """A recurrent layer in float, called on what it makes of its input, its gates at each step.

    kind: "lstm" or "gru". sequences: whether it gives all outputs, or the last one. reset_after: as of Keras' GRU.
    """

    def __init__(self, kind: str, units: int, sequences: bool, reset_after: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.kind, self.units, self.sequences, self.reset_after = kind, units, sequences, reset_after

    def build(self, shape: Any) -> None:
        """recurrence: what multiplies the states; bias: what a GRU's candidate adds to the product."""
        self.recurrence = self.add_weight("recurrence", (self.units, int(shape[-1])))
        self.bias = self.add_weight("bias", (self.units,), initializer="zeros")
        super().build(shape)

    def call(self, x: Any) -> Any:
        zeros = tf.zeros_like(x[:, 0, : self.units])
        step = self._lstm if self.kind == "lstm" else self._gru
        last, found, _ = keras.backend.rnn(step, x, [zeros, zeros][: 1 + (self.kind == "lstm")])
        return found if self.sequences else last

    def get_config(self) -> dict[str, Any]:
        own = {"kind": self.kind, "units": self.units, "sequences": self.sequences, "reset_after": self.reset_after}
        return {**super().get_config(), **own}

    def _lstm(self, x: Any, states: Any) -> Any:
        entering, kept, new, out = tf.split(x + tf.matmul(states[0], self.recurrence), 4, -1)
        found = lstm_step((entering, kept, new, out), states[1], tf.sigmoid, tf.tanh)
        return found[0], list(found)

    def _gru(self, x: Any, states: Any) -> Any:
        n, before = self.units, states[0]
        gates = tf.sigmoid(x[:, : 2 * n] + tf.matmul(before, self.recurrence[:, : 2 * n]))
        update, reset = gates[:, :n], gates[:, n:]
        candidate = self.recurrence[:, 2 * n :]
        inside = reset * (tf.matmul(before, candidate) + self.bias)
        if not self.reset_after:
            inside = tf.matmul(reset * before, candidate)
        found = gru_output(tf.tanh(x[:, 2 * n :] + inside), update, before)
        return found, [found]

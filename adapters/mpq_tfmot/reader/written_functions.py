"""The Keras layer of a function of one element, where a model writes the function in several ops or Keras has none."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.ops import op_of
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.written_layers import OfRecord


@keras.utils.register_keras_serializable("mpq_plugins")  # type: ignore[untyped-decorator]
def hardsigmoid(x: Any) -> Any:
    """clamp(x + 3, 0, 6) / 6; Keras 2's own is another function."""
    return tf.nn.relu6(x + 3.0) / 6.0


@keras.utils.register_keras_serializable("mpq_plugins")  # type: ignore[untyped-decorator]
def hardswish(x: Any) -> Any:
    """x * clamp(x + 3, 0, 6) / 6."""
    return x * tf.nn.relu6(x + 3.0) / 6.0


@keras.utils.register_keras_serializable("mpq_plugins")  # type: ignore[untyped-decorator]
def gelu_tanh(x: Any) -> Any:
    """GELU by its approximation with tanh."""
    return tf.nn.gelu(x, approximate=True)


WRITTEN = {function.__name__: function for function in (hardsigmoid, hardswish, gelu_tanh)}


def written_function(node: Node) -> Any:
    """The layer, which reads as the node again."""
    name = "gelu_tanh" if node.attrs.get("approximate") else (*op_of(node).spellings.get("keras", ()), "")[0]
    if name not in WRITTEN and not hasattr(keras.activations, name):
        return OfRecord(node.op, dict(node.attrs), name=node.name)
    return keras.layers.Activation(WRITTEN.get(node.op, WRITTEN.get(name, name)), name=node.name)

"""The Keras layer of a function of one element, where a model writes the function in several ops or Keras has none."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.known import once_known
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.ops import all_ops, op_of
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.runner import TensorflowRunner


@keras.utils.register_keras_serializable("mpq_plugins")
def hardsigmoid(x: Any) -> Any:
    """clamp(x + 3, 0, 6) / 6; Keras 2's own is another function."""
    return tf.nn.relu6(x + 3.0) / 6.0


@keras.utils.register_keras_serializable("mpq_plugins")
def hardswish(x: Any) -> Any:
    """x * clamp(x + 3, 0, 6) / 6."""
    return x * tf.nn.relu6(x + 3.0) / 6.0


@keras.utils.register_keras_serializable("mpq_plugins")
def gelu_tanh(x: Any) -> Any:
    """GELU by its approximation with tanh."""
    return tf.nn.gelu(x, approximate=True)


WRITTEN = {function.__name__: function for function in (hardsigmoid, hardswish, gelu_tanh)}


def written_function(node: Node) -> Any:
    """The layer, which reads as the node again."""
    name = "gelu_tanh" if node.attrs.get("approximate") else op_of(node).spellings["keras"][0]
    function = WRITTEN.get(node.op) or WRITTEN.get(name) or (name if known_to_keras(name) else of_record(node.op))
    return keras.layers.Activation(function, name=node.name)


def known_to_keras(name: str) -> bool:
    """Whether Keras has an activation of this name."""
    return name in dir(keras.activations) or name in dir(tf.nn)


@once_known
def of_record(word: str) -> Any:
    """The function of a record that Keras has not, under its first spelling there; it has a gradient."""
    op = all_ops()[word]
    node, runner = Node(word, word, ("x",)), TensorflowRunner()

    def function(x: Any) -> Any:
        return op.value(runner, node, x)

    function.__name__ = op.spellings["keras"][0]
    return keras.utils.register_keras_serializable("mpq_plugins")(function)

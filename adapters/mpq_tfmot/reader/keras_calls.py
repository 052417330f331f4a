"""What Keras holds of the calls of a model's layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.expanding import is_graph, of_layer, of_model
from mpq_tfmot.reader.record import recall
from mpq_tfmot.reader.whole_sizes import with_whole_sizes


def is_whole(tensor: Any) -> bool:
    """Whether a tensor holds indices or truth values; those of 8 bits, as images have, may lie on grids."""
    return bool(tensor.dtype.is_bool or (tensor.dtype.is_integer and tensor.dtype.size > 1))


def is_transparent(layer: Any) -> bool:
    """Whether a wrapper computes what the layer in it does: TF-MOT's, and TimeDistributed around a dense layer."""
    if type(layer) is keras.layers.TimeDistributed:
        return type(layer.layer) is keras.layers.Dense
    return type(layer).__name__.startswith("Quantize")


def model_of(layer: Any, node: Any, unrolled: bool) -> Any | None:
    """The graph of layers that a layer is; None for one that is a layer alone."""
    if isinstance(layer, keras.Model):
        found = layer if is_graph(layer) else of_layer(layer, node, unrolled) or of_model(layer, node.training)
    else:
        found = of_layer(layer, node, unrolled)
    return None if found is None else with_whole_sizes(found, list(calls_of(found)))


def recaller(node: Any) -> Any:
    return lambda *tensors: recall(node, tensors)


def activate(activation: Any, name: str, tensors: list[Any]) -> Any:
    return keras.layers.Activation(activation, name=name)(tensors[0])


def kernel_of(wrapper: Any) -> Any:
    """The variable behind the kernel of a wrapped layer, whose own attribute holds the quantized tensor."""
    variables = getattr(wrapper, "_weight_vars", None)
    return variables[0][0] if variables else None


def calls_of(model: Any) -> Iterator[Any]:
    """The calls of layers in the order of execution."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from model._nodes_by_depth[depth]


def flat(outputs: Any) -> list[Any]:
    return list(tf.nest.flatten(outputs))

"""Multiply-accumulates of Keras' layers without a record, where they are not one for each weight and position."""

from __future__ import annotations

from math import prod
from typing import Any

from mpq_tfmot.keras import keras
from mpq_tfmot.reader.attention_layer import HeadsAttention
from mpq_tfmot.reader.call import Call
from mpq_tfmot.reader.recurrence_layer import Recurrence


def macs(call: Call) -> dict[str, int]:
    """The attrs "macs" of one sample: a recurrent layer multiplies with each weight once for every element of the
    sequence, attention with its weights and the two products, a layer whose weights are of one place each with each
    once; none of other layers."""
    layer = getattr(call.layer, "layer", call.layer) if call.kind == "Bidirectional" else call.layer
    if isinstance(layer, keras.layers.RNN):
        places = call.shape[-1 - getattr(layer.cell, "rank", 0) : -1]  # of images, those of the output
        return {"macs": _held(call.layer) * call.in_shapes[0][0] * prod(places)}
    if isinstance(layer, Recurrence):
        return {"macs": _held(layer) * call.in_shapes[0][0]}
    if type(layer) is keras.layers.Conv3DTranspose:
        return {"macs": prod(layer.kernel.shape) * prod(call.in_shapes[0][:-1])}
    if isinstance(layer, (keras.layers.LocallyConnected1D, keras.layers.LocallyConnected2D)):
        return {"macs": prod(layer.kernel.shape)}
    if type(layer) is keras.layers.MultiHeadAttention and all(len(shape) == 2 for shape in call.in_shapes):
        queries, keys = call.in_shapes[0][0], call.in_shapes[1][0]
        units = layer._num_heads * (layer._key_dim + (layer._value_dim or layer._key_dim))
        dense = [layer._query_dense, layer._output_dense, layer._key_dense, layer._value_dense]
        weights = sum(_held(one) * steps for one, steps in zip(dense, (queries, queries, keys, keys), strict=True))
        return {"macs": weights + queries * keys * units}
    if isinstance(layer, HeadsAttention):
        (steps, _), (others, inside), (_, outside) = call.in_shapes[:3]
        return {"macs": steps * others * (inside + outside)}
    if type(layer) is keras.layers.Attention and all(len(shape) == 2 for shape in call.in_shapes):
        (steps, inside), (others, outside) = call.in_shapes[:2]
        return {"macs": steps * others * (inside + outside)}
    return {}


def _held(layer: Any) -> int:
    """Elements of weights. A vector is a bias, and so is what is called one, as of a GRU or of heads."""
    return sum(
        prod(weight.shape)
        for weight in layer.weights
        if len(weight.shape) > 1 and weight.name.rpartition("/")[2].partition(":")[0] != "bias"
    )

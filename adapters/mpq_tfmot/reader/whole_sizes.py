"""Models that reshape by sizes which they compute, so that Keras leaves axes open that are always the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.record import recall

SAMPLES = 2


def with_whole_sizes(model: Any, calls: Sequence[Any]) -> Any:
    """The model of the same layers, with the sizes that its tensors have when it runs; itself where none is open.

    calls: of its layers, in the order of execution. The model runs once, on zeros.
    """
    if not any(_is_open(tensor) for call in calls for tensor in tf.nest.flatten(call.outputs)):
        return model
    if any(_is_open(tensor) for tensor in model.inputs):
        return model
    before = [(call.layer, list(call.layer._inbound_nodes), list(call.layer._outbound_nodes)) for call in calls]
    try:
        return _called_anew(model, calls)
    except Exception:  # what does not run on zeros keeps its open sizes, and is refused where it needs them
        return model
    finally:
        for layer, inbound, outbound in before:
            layer._inbound_nodes[:], layer._outbound_nodes[:] = inbound, outbound


def _called_anew(model: Any, calls: Sequence[Any]) -> Any:
    known = {id(x): tf.zeros((x.shape[0] or SAMPLES, *x.shape[1:]), x.dtype) for x in model.inputs}
    anew = {id(x): x for x in model.inputs}
    for call in calls:
        if isinstance(call.layer, keras.layers.InputLayer):
            continue
        values = recall(call, [known[id(x)] for x in call.keras_inputs], training=False)
        made = recall(call, [anew[id(x)] for x in call.keras_inputs])
        parts = (tf.nest.flatten(part) for part in (call.outputs, values, made))
        for old, value, symbol in zip(*parts, strict=True):
            if _is_open(symbol):
                symbol.set_shape((symbol.shape[0], *value.shape[1:]))
            known[id(old)], anew[id(old)] = value, symbol
    outputs = tf.nest.map_structure(lambda tensor: anew[id(tensor)], model._nested_outputs)
    whole = keras.Model(model._nested_inputs, outputs, name=model.name)
    whole.output_names = list(model.output_names)
    return whole


def _is_open(tensor: Any) -> bool:
    return tensor.shape.rank is not None and any(size is None for size in tensor.shape[1:])

"""Keras models and layers whose call is a graph of layers, which Keras itself does not know: called on symbols."""

from __future__ import annotations

import inspect
from typing import Any

from mpq_plugins.errors import ModelError
from mpq_tfmot.keras import keras, tf


def is_graph(model: Any) -> bool:
    """Whether Keras knows the model's graph of layers."""
    return bool(getattr(model, "_is_graph_network", False))


def of_model(model: Any) -> Any:
    """A subclassed model as a functional one of the same layers, outside of training.

    Raises ModelError where it has not been called yet, so that its shapes are unknown, and where its call is no graph
    of layers and functions.
    """
    shape = getattr(model, "_build_input_shape", None)
    if not model.built or shape is None:
        raise ModelError(
            f"{type(model).__name__} is a subclassed model that was not called yet, so its shapes are unknown; call it "
            "on a batch first"
        )
    first = next(iter(inspect.signature(model.call).parameters), "x")
    return _traced(model, _symbols(shape, first))


def of_layer(layer: Any, tensors: Any) -> Any | None:
    """A layer that holds other layers, as a functional model of them; None where its call is no graph of layers.

    tensors: the symbols that it is called with.
    """
    own = type(layer).__module__.partition(".")[0] in ("tf_keras", "keras", "tensorflow_model_optimization")
    if own or not list(layer._flatten_layers(include_self=False, recursive=False)):
        return None
    try:
        return _traced(layer, tf.nest.map_structure(lambda t: keras.Input(t.shape[1:], dtype=t.dtype), tensors))
    except ModelError:
        return None


def _traced(layer: Any, symbols: Any) -> Any:
    options = {"training": False} if "training" in inspect.signature(layer.call).parameters else {}
    try:
        return keras.Model(symbols, layer.call(symbols, **options))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{type(layer).__name__} is a subclassed model whose call is no graph of layers ({reason}); build it with "
            "the functional API: keras.Model(inputs, outputs)"
        ) from error


def _symbols(shape: Any, name: str) -> Any:
    """Symbols in the structure in which the model takes its inputs, named by their keys, or the argument's name."""
    if isinstance(shape, dict):
        return {key: _symbols(part, key) for key, part in shape.items()}
    if isinstance(shape, (list, tuple)) and not all(size is None or isinstance(size, int) for size in shape):
        return [_symbols(part, f"{name}_{index}") for index, part in enumerate(shape)]
    return keras.Input(tuple(shape)[1:], name=name)

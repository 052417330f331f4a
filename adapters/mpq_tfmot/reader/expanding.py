"""Keras models and layers whose call is a graph of layers, which Keras itself does not know: called on symbols."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.ops import spelled
from mpq_plugins.graph.recurrence import MOST_STEPS
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader import written_functions
from mpq_tfmot.reader.as_functions import as_functions
from mpq_tfmot.reader.attention_layer import HeadsAttention
from mpq_tfmot.reader.float_functions import of_layer as described
from mpq_tfmot.reader.functions import is_known, name_of
from mpq_tfmot.reader.in_training import INFERRING_ALIKE, changes_in_training
from mpq_tfmot.reader.long_series import apart
from mpq_tfmot.reader.opened_functions import OPENED
from mpq_tfmot.reader.record import Record
from mpq_tfmot.reader.recurrence_layer import Recurrence
from mpq_tfmot.reader.recurrent import is_recurrent, recurrent
from mpq_tfmot.reader.written_layers import JoinedReshape, OfRecord, OwnTensor

_OWN = ("tf_keras", "keras", "tensorflow_model_optimization")
"""Packages whose layers are known by their class."""
GIVING_SCORES = (keras.layers.MultiHeadAttention, keras.layers.Attention)
"""Layers that are taken apart where their shares are outputs, too."""


def is_graph(model: Any) -> bool:
    """Whether Keras knows the model's graph of layers."""
    return bool(getattr(model, "_is_graph_network", False))


def of_model(model: Any, training: bool = False) -> Any:
    """A subclassed model as a functional one of the same layers, outside of training unless it is told otherwise.

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
    return traced(model, _symbols(shape, first), _call_of(model, training))


def of_layer(layer: Any, record: Record, unrolled: bool = False) -> Any | None:
    """A layer that is a graph of layers and functions, as a functional model of them; None for another.

    A user's own layer; a Lambda; an activation that is a user's own function; what TimeDistributed calls at each step;
    attention by sums; a recurrent layer, if they are to be ``unrolled``, or the series is long. record: of its call,
    whose symbols are the model's inputs.
    """
    call = _expanded(layer, record, unrolled)
    if call is None:
        return None
    symbols, again = _of_symbols(record)
    try:
        return traced(layer, symbols, lambda _: call(*again.call_args, **given_more(again)))
    except ModelError:
        return None


def of_function(record: Record) -> Any | None:
    """A function of TensorFlow that is written in others, as a functional model of them; None for another."""
    inner = OPENED.get(str(record.layer.symbol).removeprefix("compat.v1."))
    if inner is None:
        return None
    symbols, again = _of_symbols(record)
    try:
        return traced(record.layer, symbols, lambda _: inner(*again.call_args, **again.call_kwargs))
    except ModelError:
        return None


def of_activation(activation: Any, shape: Any) -> Any | None:
    """What a layer has for an activation, of samples of a shape, as a functional model; None for another."""
    symbol = keras.Input(shape)
    try:
        return traced(activation, symbol, activation)
    except ModelError:
        return None


def _of_symbols(record: Record) -> tuple[list[Any], Record]:
    """Symbols of their own, and the record of a call of them."""
    symbols = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in record.keras_inputs]
    return symbols, record.with_operands({id(old): new for old, new in zip(record.keras_inputs, symbols, strict=True)})


def given_more(record: Record) -> dict[str, Any]:
    """What a layer is called with by name, but for what is nothing, and training."""
    return {
        key: value
        for key, value in record.call_kwargs.items()
        if key != "training" and value is not None and value is not False
    }


def _expanded(layer: Any, record: Record, unrolled: bool) -> Callable[..., Any] | None:
    """What a layer computes, of symbols; None where its class says what it is."""
    kind = type(layer)
    if not (_is_kerass(kind) or isinstance(layer, (OfRecord, OwnTensor, JoinedReshape, HeadsAttention, Recurrence))):
        return None if _is_recorded(kind) else _call_of(layer, record.training)
    if record.call_kwargs.get("return_attention_scores") and kind in GIVING_SCORES:
        return _call_of(layer, record.training)
    if len(record.call_args) != 1 or given_more(record) or (record.training and changes_in_training(layer)):
        return None
    (tensors,) = record.call_args
    written = as_functions(layer, tensors)
    if written is not None:
        return written
    if kind.__name__ in INFERRING_ALIKE:
        return lambda x: layer.layer(x)
    if kind is keras.layers.Lambda:
        return lambda x: layer.function(x, **layer.arguments)
    if kind is keras.layers.Activation:
        return layer.activation if _is_users(layer.activation) else None
    if kind is keras.layers.TimeDistributed:
        steps = tensors.shape[1]
        if steps is None or steps > MOST_STEPS or type(layer.layer) is keras.layers.Dense:
            return None
        return lambda x: tf.stack([layer.layer(x[:, step]) for step in range(steps)], 1)
    if not is_recurrent(layer):
        return None
    if unrolled or not _is_described(layer, tensors):
        return recurrent(layer, tensors)
    return apart(layer, tensors)


def _is_described(layer: Any, tensors: Any) -> bool:
    """Whether a recurrent layer is a function of the core's that stays float where there are floats."""
    return not isinstance(tensors, (list, tuple)) and bool(described(layer, 1, len(tensors.shape)))


def _is_kerass(kind: type) -> bool:
    """Whether Keras or TF-MOT has a layer, and not one of the networks of keras.applications."""
    return kind.__module__.partition(".")[0] in _OWN and ".applications." not in kind.__module__


def _is_recorded(kind: type) -> bool:
    """Whether a plug-in's op is known by the name of this class, which is none of Keras' own."""
    return kind.__name__ in spelled("keras") and not hasattr(keras.layers, kind.__name__)


def _is_users(activation: Any) -> bool:
    """Whether an activation is a function whose name says nothing."""
    module = getattr(activation, "__module__", None) or ""
    known = module.startswith((*_OWN, "tensorflow", written_functions.__name__)) or is_known(name_of(activation))
    return callable(activation) and not isinstance(activation, keras.layers.Layer) and not known


def _call_of(layer: Any, training: bool) -> Callable[..., Any]:
    options = {"training": training} if "training" in inspect.signature(layer.call).parameters else {}
    return lambda *symbols, **more: layer.call(*symbols, **{**more, **options})


def traced(layer: Any, symbols: Any, call: Callable[[Any], Any]) -> Any:
    """What a layer's call makes of symbols, as a functional model. Raises ModelError, naming it, for no graph."""
    try:
        with _names_of_their_own():
            return keras.Model(symbols, call(symbols))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{type(layer).__name__} is a subclassed model whose call is no graph of layers ({reason}); build it with "
            "the functional API: keras.Model(inputs, outputs)"
        ) from error


@contextmanager
def _names_of_their_own() -> Iterator[None]:
    """Let functions be named as if there were no others, so that a model read twice has the same names twice."""
    counts, seen = keras.src.backend.PER_GRAPH_OBJECT_NAME_UIDS, keras.src.backend.OBSERVED_NAMES
    before, names = dict(counts), set(seen)
    counts.clear()
    seen.clear()
    try:
        yield
    finally:
        counts.clear()
        counts.update(before)
        seen.update(names)


def _symbols(shape: Any, name: str) -> Any:
    """Symbols in the structure in which the model takes its inputs, named by their keys, or the argument's name."""
    if isinstance(shape, dict):
        return {key: _symbols(part, key) for key, part in shape.items()}
    if isinstance(shape, (list, tuple)) and not all(size is None or isinstance(size, int) for size in shape):
        return [_symbols(part, f"{name}_{index}") for index, part in enumerate(shape)]
    return keras.Input(tuple(shape)[1:], name=name)

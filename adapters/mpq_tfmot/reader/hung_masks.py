"""Masks that Masking, or an Embedding with mask_zero, hangs on tensors, and that layers pass on: as tensors to be read.

Keras computes them beside a model's graph, whenever it is called, so that nothing of the graph shows them. Here each is
what the layer's own ``compute_mask`` makes of symbols; attention gets it as one mask, joined with others that it has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.errors import ModelError
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.expanding import traced
from mpq_tfmot.reader.record import Record, is_masked, is_symbol

_MERGED = keras.layers.Add.compute_mask
"""What sums and the like have for a mask: Keras joins them along a new axis before that of the samples."""
Walk = Callable[[Any, Sequence[str], str], list[str]]
"""The nodes of a functional model's outputs, from those of its inputs, under the names of a scope."""


class HungMasks:
    """The masks of one model's tensors. walk: adds the nodes of a model to the graph."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self._calls: dict[int, Record] = {}
        self._found: dict[int, Any] = {}

    def passed(self, record: Record) -> None:
        """Note who makes the tensors that a mask is hung on."""
        for tensor in tf.nest.flatten(record.outputs):
            if is_masked(tensor):
                self._calls[id(tensor)] = record

    def attending(self, record: Record, at: dict[int, str], scope: str) -> Record:
        """A call of MultiHeadAttention that is given as one mask all that it heeds, if that is computed.

        at: nodes by the id of the symbol that stands for them. Raises ModelError where a mask is no function here.
        """
        names = ("query", "value", "key", "attention_mask")
        given = {**dict(zip(names, record.call_args, strict=False)), **record.call_kwargs}
        mask, causal = given.get("attention_mask"), bool(given.get("use_causal_mask"))
        read = [given["query"], given["value"], given.get("key")]
        hung = [tensor if tensor is not None and is_masked(tensor) else None for tensor in read]
        if not any(tensor is not None for tensor in hung) and not (is_symbol(mask) and causal):
            return record
        held = [None if tensor is None else self._symbol(tensor, at, scope) for tensor in hung]
        steps = [int(tensor.shape[1]) for tensor in read[:2]]
        symbols = [tensor for tensor in (*held, mask) if is_symbol(tensor)]

        def joined(inputs: Sequence[Any]) -> Any:
            own = {id(old): new for old, new in zip(symbols, inputs, strict=True)}
            query, value, key = (None if tensor is None else own[id(tensor)] for tensor in held)
            parts = [] if query is None else [query[:, :, tf.newaxis]]
            parts += [other[:, tf.newaxis, :] for other in (value, key) if other is not None]
            parts += [] if mask is None else [_truths(own.get(id(mask), mask))]
            parts += [np.tril(np.ones((1, *steps), bool))] if causal else []
            return _all_of(parts)

        made = self._made(record.layer, symbols, joined, at, scope)
        kwargs = {**record.call_kwargs, "attention_mask": made, "use_causal_mask": False}
        args = record.call_args[:3]
        read_again = tuple(tensor for tensor in tf.nest.flatten((args, kwargs)) if is_symbol(tensor))
        return replace(record, call_args=args, call_kwargs=kwargs, keras_inputs=read_again)

    def _symbol(self, tensor: Any, at: dict[int, str], scope: str) -> Any:
        """A symbol of the mask that is hung on a tensor."""
        if id(tensor) in self._found:
            return self._found[id(tensor)][1]
        record = self._calls.get(id(tensor))
        if record is None:
            raise ModelError(f"nothing is known of the mask that is hung on {tensor.name}")
        first = record.call_args[0] if record.call_args else next(iter(record.call_kwargs.values()))
        tensors = tf.nest.flatten(first)
        masks = [self._symbol(x, at, scope) if is_masked(x) else None for x in tensors]
        symbols = [*tensors, *(mask for mask in masks if mask is not None)]

        def computed(inputs: Sequence[Any]) -> Any:
            own = iter(inputs[len(tensors) :])
            given = [None if mask is None else next(own) for mask in masks]
            if getattr(type(record.layer), "compute_mask", None) is _MERGED:
                return _all_of([mask for mask in given if mask is not None])
            pack = tf.nest.pack_sequence_as
            return record.layer.compute_mask(pack(first, inputs[: len(tensors)]), pack(first, given))

        made = self._made(record.layer, symbols, computed, at, scope)
        self._found[id(tensor)] = tensor, made  # held, so that its id stays its own
        return made

    def _made(
        self, layer: Any, symbols: Sequence[Any], call: Callable[[Any], Any], at: dict[int, str], scope: str
    ) -> Any:
        """A symbol for what a function makes of some, which stands for the last of its nodes."""
        inputs = [keras.Input(x.shape[1:], dtype=x.dtype) for x in symbols]
        model = traced(layer, inputs, call)
        (output,) = model.outputs
        (name,) = self.walk(model, [at[id(x)] for x in symbols], f"{scope}{layer.name}.mask.")
        at[id(output)] = name
        return output


def _all_of(masks: Sequence[Any]) -> Any:
    found = masks[0]
    for mask in masks[1:]:
        found = tf.logical_and(found, mask)
    return found


def _truths(mask: Any) -> Any:
    """A mask that a model is given: an argument of truth values comes as zeros and ones."""
    return tf.not_equal(tf.cast(mask, tf.float32), 0.0) if is_symbol(mask) else np.asarray(mask).astype(bool)

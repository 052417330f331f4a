"""Tensors of a Keras model that depend on sizes and the model's own tensors alone: constants of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpq_tfmot.keras import tf
from mpq_tfmot.reader.record import Record, recall

SIZES = (2, 3)
"""The batch sizes at which they are computed; one would not tell a batch of two from an axis of two."""
FILLED = {"zeros_like": tf.zeros, "ones_like": tf.ones}
"""Functions that look at the shape of a tensor alone, and what gives the same of a shape."""
LENGTH = ("shape", "shape_v2")


class Folding:
    """What each such tensor is at both batch sizes."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Any, tuple[Any, ...]]] = {}

    def take(self, node: Any) -> bool:
        """Whether a call gives such tensors, which are known from then on."""
        values = [self._computed(node, size, index) for index, size in enumerate(SIZES)]
        if any(value is None for value in values):
            return False
        for tensor, *each in zip(*(tf.nest.flatten(part) for part in (node.outputs, *values)), strict=True):
            self._found[id(tensor)] = tensor, tuple(np.asarray(value) for value in each)
        return True

    def _computed(self, node: Any, size: int, index: int) -> Any | None:
        symbol = str(getattr(node.layer, "symbol", "")).removeprefix("compat.v1.")
        first = node.keras_inputs[0] if node.keras_inputs else None
        if symbol in LENGTH or symbol in FILLED:
            shape = None if first is None else _sized(first, size)
            if shape is None:
                return None
            return np.array(shape, np.int32) if symbol in LENGTH else FILLED[symbol](shape, node.outputs.dtype)
        if first is None or any(id(tensor) not in self._found for tensor in node.keras_inputs):
            return None
        if symbol.startswith("random."):
            return None
        try:
            return recall(node, [tf.constant(self._found[id(tensor)][1][index]) for tensor in node.keras_inputs])
        except Exception:  # what does not run on these sizes is none
            return None

    def always(self, tensor: Any) -> Any | None:
        """The value of what is the same at every batch size; None for what is none, or another."""
        _, values = self._found.get(id(tensor), (None, ()))
        return values[0] if values and np.array_equal(*values) else None

    def sample(self, tensor: Any, floats: bool = True) -> Any | None:
        """The value for one sample, [1, ...], of what is the same for every sample; None for others.

        floats: whether it has to be floats.
        """
        _, values = self._found.get(id(tensor), (None, ()))
        if not values or values[0].ndim == 0 or np.issubdtype(values[0].dtype, np.floating) != floats:
            return None
        first, second = values
        if first.shape[1:] != second.shape[1:] or (len(first), len(second)) != SIZES:
            return first if first.shape == second.shape and len(first) == 1 and np.array_equal(*values) else None
        return first[:1] if np.array_equal(second, np.repeat(first[:1], SIZES[1], 0)) else None


def _sized(tensor: Any, size: int) -> tuple[int, ...] | None:
    """The shape of a tensor of so many samples; None for one of open sizes."""
    shape = tuple(tensor.shape)
    if not shape or any(axis is None for axis in shape[1:]):
        return None
    return (size if shape[0] is None else int(shape[0]), *map(int, shape[1:]))


def with_values(node: Any, folding: Folding, broadcasts: bool, masks: bool) -> Record:
    """The record of a call with values instead of the tensors that are always the same.

    masks: whether an array of one sample does for masks that are the same for every sample.
    broadcasts: whether a number does for a tensor of that number, as long as others have the shape of the output.
    """
    others = [tensor for tensor in node.keras_inputs if folding.sample(tensor) is None]
    whole = any(tuple(tensor.shape) == tuple(getattr(node.outputs, "shape", ())) for tensor in others)
    values: dict[int, Any] = {}
    for tensor in node.keras_inputs:
        value, each = folding.always(tensor), folding.sample(tensor)
        if value is not None and each is None:
            values[id(tensor)] = value
        elif masks and folding.sample(tensor, floats=False) is not None:
            values[id(tensor)] = folding.sample(tensor, floats=False)
        elif each is not None and broadcasts and whole and each.size and np.all(each == each.flat[0]):
            values[id(tensor)] = float(each.flat[0])
    return Record.of(node).with_operands(values)

"""Tensors of the model's own that a call reads beside activations: constant nodes, and symbols in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins.graph.node import CONSTANT, Batch, Node
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.arithmetic import DIVISIONS
from mpq_tfmot.reader.record import Record, is_symbol


@dataclass(frozen=True)
class OwnTensor:
    """symbol: in its place. value: of one sample, [1, ...]. name: of the variable; "" for none. held: the tensor."""

    symbol: Any
    value: Any
    name: str
    held: Any


def constant_node(name: str, value: Any) -> Node:
    """A constant of one sample, [1, ...]."""
    return Node(name, CONSTANT, (), (Batch(), *value.shape[1:]), attrs={"value": np.asarray(value, np.float32)})


def lifted(record: Record, broadcasts: bool) -> tuple[list[OwnTensor], Record]:
    """The tensors of floats among the operands of a call, and the record of it with symbols in their place.

    broadcasts: whether what has fewer axes than the other operands gets more in front.
    """
    rank = max((len(tensor.shape) for tensor in record.keras_inputs), default=0)
    found: dict[int, OwnTensor] = {}
    record = _multiplying(record)
    adds = str(getattr(record.layer, "symbol", "")) in ("__operators__.add", "math.add")  # as masks of -inf are
    for operand in tf.nest.flatten((record.call_args, record.call_kwargs)):
        value = _value_of(operand)
        if value is None or id(operand) in found or not (adds or np.all(np.isfinite(value))):
            continue
        missing = rank - value.ndim if broadcasts else 0
        value = value[(None,) * max(0, missing)]
        if value.ndim > 1 and len(value) == 1:
            name = operand.name.partition(":")[0].split("/")[-1] if isinstance(operand, tf.Variable) else ""
            found[id(operand)] = OwnTensor(_symbol(value.shape[1:]), value, name, operand)
    symbols = {key: own.symbol for key, own in found.items()}
    return list(found.values()), record.with_operands(symbols)


def _value_of(operand: Any) -> Any | None:
    """A tensor of floats, of more than one number; None for another operand."""
    if is_symbol(operand):
        return None
    if not (isinstance(operand, (tf.Variable, np.ndarray)) or tf.is_tensor(operand)):
        return None
    value = np.asarray(operand)
    floats = np.issubdtype(value.dtype, np.floating) and value.size > 1
    return value.astype(np.float32) if floats and np.all(value < np.inf) else None


def _multiplying(record: Record) -> Record:
    """A quotient by a tensor of the model's own as the product with its inverse."""
    if str(getattr(record.layer, "symbol", "")) not in DIVISIONS or len(record.call_args) != 2:
        return record
    x, divisor = record.call_args[0], _value_of(record.call_args[1])
    if divisor is None or not np.all(divisor) or not is_symbol(x):
        return record
    product = keras.src.layers.core.tf_op_layer.TFOpLambda(tf.math.multiply, name=record.layer.name)
    return Record(product, record.keras_inputs, (x, 1.0 / divisor), {}, record.outputs)


def _symbol(shape: tuple[int, ...]) -> Any:
    return keras.src.engine.keras_tensor.KerasTensor(tf.TensorSpec((None, *shape), tf.float32))

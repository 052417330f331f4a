"""Keras' record of a call, with other operands than the model has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mpq_tfmot.keras import keras, tf

FUNCTION_LAYERS = ("TFOpLambda", "SlicingOpLambda")
"""The layers that Keras makes of TensorFlow's functions."""


def is_symbol(operand: Any) -> bool:
    """Whether an operand is a tensor of Keras that has no value yet."""
    return isinstance(operand, keras.src.engine.keras_tensor.KerasTensor)


def is_masked(tensor: Any) -> bool:
    """Whether Keras has hung a mask on a tensor."""
    return getattr(tensor, "_keras_mask", None) is not None


def is_function_layer(layer: Any) -> bool:
    """Whether a layer is a function of TensorFlow's."""
    return type(layer).__name__ in FUNCTION_LAYERS


@dataclass(frozen=True)
class Record:
    """keras_inputs: the symbols among the arguments, in order. training: whether the call, or one around it, is one in
    training, whenever the model is called."""

    layer: Any
    keras_inputs: tuple[Any, ...]
    call_args: Any
    call_kwargs: Any
    outputs: Any
    training: bool = False

    @classmethod
    def of(cls, node: Any) -> Record:
        """What Keras holds."""
        return cls(node.layer, tuple(node.keras_inputs), node.call_args, node.call_kwargs, node.outputs)

    def with_operands(self, other: Mapping[int, Any]) -> Record:
        """With others in the place of operands, by their id; those may be symbols too."""
        if not other:
            return self
        args, kwargs = tf.nest.map_structure(lambda a: other.get(id(a), a), (self.call_args, self.call_kwargs))
        symbols = tuple(a for a in tf.nest.flatten((args, kwargs)) if is_symbol(a))
        return replace(self, keras_inputs=symbols, call_args=args, call_kwargs=kwargs)

    def within(self, training: bool) -> Record:
        """The same call, in one in training, or not; what it is told itself comes first."""
        said = self.call_kwargs.get("training")
        return replace(self, training=training if said is None else said is not False and said != 0)


def under(record: Record, name: str) -> Record:
    """The same call of a function, by a layer of this name."""
    return replace(record, layer=type(record.layer)(record.layer.function, name=name))


def recall(node: Any, tensors: Sequence[Any], training: bool | None = None) -> Any:
    """Call a layer again with other tensors in the place of the symbols that it was called with.

    training: whether to train, where the call does not say it; None for the layer's own default.
    """
    by_id = {id(old): new for old, new in zip(node.keras_inputs, tensors, strict=True)}
    args, kwargs = tf.nest.map_structure(lambda a: by_id.get(id(a), a), (node.call_args, node.call_kwargs))
    if training is not None and getattr(node.layer, "_expects_training_arg", False) and kwargs.get("training") is None:
        kwargs = {**kwargs, "training": training}
    return node.layer(*args, **kwargs)

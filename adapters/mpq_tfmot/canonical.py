"""A built tf_keras model as a canonical list of ops: what inventory, simulation and conversion work on.

In the canonical form nested models are flattened, batch norms folded, ReLUs fused, separable
convolutions split, and what does nothing after training (Dropout) is gone. What no integer kernel
computes may stand behind the last weight only, and stays float there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins.errors import ModelError, NonFiniteValues
from mpq_tfmot.canonical_ops import FLOAT, Op
from mpq_tfmot.canonical_passes import float_tail, fold_batch_norms, fuse_clamps, mark_flattened
from mpq_tfmot.keras import keras
from mpq_tfmot.layers import ops_of


@dataclass(frozen=True)
class CanonicalModel:
    """ops: in the order of execution. outputs: names of the ops that the model returns.

    float_ops: names of the ops behind the last weight that stay float.
    """

    ops: tuple[Op, ...]
    outputs: tuple[str, ...]

    def __getitem__(self, name: str) -> Op:
        return next(op for op in self.ops if op.name == name)

    @property
    def float_ops(self) -> tuple[str, ...]:
        """Names of the ops that stay float."""
        return tuple(op.name for op in self.ops if op.kind == FLOAT)

    @property
    def layers(self) -> tuple[Op, ...]:
        """The ops with a weight."""
        return tuple(op for op in self.ops if op.weighted)

    @property
    def inputs(self) -> tuple[Op, ...]:
        """The inputs of the model."""
        return tuple(op for op in self.ops if op.kind == "input")

    def readers(self) -> dict[str, list[Op]]:
        """Op name -> the ops that read it."""
        found: dict[str, list[Op]] = {op.name: [] for op in self.ops}
        for op in self.ops:
            for name in op.inputs:
                found[name].append(op)
        return found


def canonicalize(model: Any) -> CanonicalModel:
    """The canonical form of a built Sequential or Functional tf_keras model, which is left untouched.

    Raises ModelError for a model of another kind or one that calls a weighted layer twice,
    NonFiniteValues for NaN weights, and UnsupportedOp, with all names, for an op without an integer form
    in front of a weight.
    """
    return read_canonical(model)[0]


def read_canonical(model: Any) -> tuple[CanonicalModel, dict[str, Any]]:
    """The canonical form, and the TF-MOT wrapper of each layer that has one, by name of the layer."""
    check_model(model)
    reader = _Reader()
    ops, outputs = reader.read(model)
    ops, outputs = fold_batch_norms(ops, outputs)
    ops, outputs = fuse_clamps(ops, outputs)
    ops = mark_flattened(float_tail(ops))
    for op in ops:
        for array in (op.weight, op.bias):
            if array is not None and not np.all(np.isfinite(array)):
                bad = int(array.size - np.count_nonzero(np.isfinite(array)))
                raise NonFiniteValues(f"{op.name}: {bad} of {array.size} weights are NaN or infinite")
    return CanonicalModel(tuple(ops), tuple(outputs)), reader.wrappers


def with_batch_norms(model: Any) -> CanonicalModel:
    """The canonical form with the batch norms that follow a layer left as ops of their own, to train with."""
    check_model(model)
    ops, outputs = _Reader().read(model)
    ops, outputs = fold_batch_norms(ops, outputs, into_layers=False)
    ops, outputs = fuse_clamps(ops, outputs)
    return CanonicalModel(tuple(float_tail(ops)), tuple(outputs))


def last_integer_ops(model: CanonicalModel) -> list[str]:
    """The outputs of the integer part: those of the model, and what its float tail reads."""
    floats = set(model.float_ops)
    read = [name for op in model.ops if op.kind == FLOAT for name in op.inputs if name not in floats]
    return list(dict.fromkeys([*(name for name in model.outputs if name not in floats), *read]))


def check_model(model: Any) -> None:
    """Raise ModelError, in one clear sentence, unless ``model`` is a built Sequential or Functional model."""
    if isinstance(model, (keras.Sequential, keras.Model)):
        if isinstance(model, keras.Sequential) and not model.built:
            raise ModelError(
                f"the Sequential model {model.name!r} is not built, so its shapes are unknown; "
                "give it an Input layer or call model.build(input_shape)"
            )
        if not (isinstance(model, keras.Sequential) or getattr(model, "_is_graph_network", False)):
            raise ModelError(
                f"{type(model).__name__} is a subclassed model, whose graph Keras does not know; "
                "build it with the functional API: keras.Model(inputs, outputs)"
            )
        if not getattr(model, "_is_graph_network", False):
            raise ModelError(f"the model {model.name!r} has no static graph; give it an Input layer")
        return
    if type(model).__module__.split(".")[0] == "keras" or any(
        base.__module__.split(".")[0] == "keras" for base in type(model).__mro__
    ):
        raise ModelError(
            f"{type(model).__name__} {getattr(model, 'name', '')!r} is a Keras 3 model, and TF-MOT works on tf_keras "
            "(Keras 2) alone: build or load it with tf_keras (pip install tf_keras, and set TF_USE_LEGACY_KERAS=1 "
            "before TensorFlow is imported to have tf.keras mean it)"
        )
    raise ModelError(f"a tf_keras Sequential or Functional model is needed, got {type(model).__name__}")


class _Reader:
    """Walks the graph of a model and of the models nested in it."""

    def __init__(self) -> None:
        self.ops: list[Op] = []
        self._calls: dict[str, int] = {}
        self._seen: dict[int, str] = {}
        self.wrappers: dict[str, Any] = {}

    def read(self, model: Any) -> tuple[list[Op], list[str]]:
        names = []
        for tensor in model.inputs:
            layer = tensor.node.layer
            self.ops.append(Op(layer.name, "input", (), tuple(tensor.shape[1:])))
            names.append(layer.name)
        return self.ops, self._walk(model, names, "")

    def _walk(self, model: Any, inputs: Iterable[str], scope: str) -> list[str]:
        values = {id(tensor): name for tensor, name in zip(model.inputs, inputs, strict=True)}
        for node in _nodes(model):
            layer = node.layer
            if isinstance(layer, keras.layers.InputLayer):
                continue
            sources = [values[id(tensor)] for tensor in node.keras_inputs]
            outputs = _flat(node.outputs)
            inner = getattr(layer, "layer", layer) if type(layer).__name__.startswith("Quantize") else layer
            if type(layer).__name__ == "QuantizeLayer":
                values[id(outputs[0])] = sources[0]
                self.wrappers[sources[0]] = layer
                continue
            if inner is not layer:
                self.wrappers[f"{scope}{inner.name}"] = layer
            if isinstance(inner, keras.Model):
                results = self._walk(inner, sources, f"{scope}{inner.name}.")
            else:
                shape = tuple(outputs[0].shape[1:])
                results = [self._visit(layer, inner, node, sources, scope, shape)]
            if inner is not layer and results == sources:  # the quantizer of an input, on a layer that does nothing
                self.wrappers[sources[0]] = layer
            for tensor, name in zip(outputs, results, strict=True):
                values[id(tensor)] = name
        return [values[id(tensor)] for tensor in model.outputs]

    def _visit(
        self, wrapper: Any, layer: Any, node: Any, sources: list[str], scope: str, shape: tuple[int, ...]
    ) -> str:
        name = self._name(layer, scope)
        if layer.weights:
            if id(layer) in self._seen:
                raise ModelError(
                    f"layer {self._seen[id(layer)]!r} is called twice, so one weight needs the grids of two places; "
                    "make two layers of it (with equal weights, if they must agree)"
                )
            self._seen[id(layer)] = name
        by_name = {op.name: op for op in self.ops}
        made = ops_of(layer, node, name, tuple(sources), [by_name[s].shape for s in sources], shape, _kernel(wrapper))
        self.ops.extend(made)
        return made[-1].name if made else sources[0]

    def _name(self, layer: Any, scope: str) -> str:
        name = f"{scope}{layer.name}"
        count = self._calls.get(name, 0)
        self._calls[name] = count + 1
        return name if not count else f"{name}__call{count}"


def _kernel(wrapper: Any) -> Any:
    """The variable behind the kernel of a wrapped layer, whose own attribute holds the quantized tensor."""
    variables = getattr(wrapper, "_weight_vars", None)
    return variables[0][0] if variables else None


def _nodes(model: Any) -> Iterator[Any]:
    """The calls of layers in the order of execution."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from model._nodes_by_depth[depth]


def _flat(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]

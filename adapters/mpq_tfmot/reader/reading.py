"""A built tf_keras model read into a Graph: nested models flattened, batch norms folded, ReLUs fused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mpq_plugins.errors import ModelError, UnsupportedOp
from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, UNKNOWN, Batch, Graph, Node
from mpq_plugins.graph.ops import is_op, op_of
from mpq_plugins.graph.reading import settled
from mpq_plugins.targets import Target
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.layers import FUNCTION_LAYERS, Call, call_again, evaluator, nodes_of, recall
from mpq_tfmot.runner import TensorflowRunner


@dataclass(frozen=True)
class Reading:
    """A model as data, and what of it only Keras can do.

    again: node -> calls its layer, made anew, on other tensors; of what has no weight of its own.
    norm_weights: batch norm -> its variables' values. wrappers: layer -> the TF-MOT wrapper that it has.
    """

    graph: Graph
    runner: TensorflowRunner
    again: Mapping[str, Any] = field(default_factory=dict)
    norm_weights: Mapping[str, list[Any]] = field(default_factory=dict)
    wrappers: Mapping[str, Any] = field(default_factory=dict)


def read_model(
    model: Any, keep_float: Iterable[str] = (), *, fold: bool = True, target: Target | None = None
) -> Reading:
    """Read a built Sequential or Functional tf_keras model, which is left untouched.

    keep_float: names of layers, or patterns of them, to leave in float.
    fold: False leaves batch norms that follow a layer as nodes of their own, to train with.
    target: whose kernels the graph is to fit (``graph.fitted``).
    Raises ModelError for a model of another kind, NonFiniteValues for NaN weights, and UnsupportedOp, with all
    names, for an op without an integer form in front of a weight.
    """
    check_model(model)
    reader = _Reader()
    graph = settled(reader.read(model), keep_float, fold=fold, target=target)
    return Reading(graph, TensorflowRunner(reader.floats), reader.again, reader.norm_weights, reader.wrappers)


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


MOVES = ("slice", "reshape", "transpose", "concat", "pad")
"""Records that are written as they are, where no layer of the model's stands for one alone."""


class _Reader:
    """Walks the graph of a model and of the models nested in it."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.floats: dict[str, Any] = {}
        self.again: dict[str, Any] = {}
        self.norm_weights: dict[str, list[Any]] = {}
        self.wrappers: dict[str, Any] = {}
        self._calls: dict[str, int] = {}
        self._owners: dict[int, str] = {}

    def read(self, model: Any) -> Graph:
        names = []
        for index, tensor in enumerate(model.inputs):
            name, shape = tensor.node.layer.name, tuple(tensor.shape[1:])
            if any(size is None for size in shape):
                raise ModelError(
                    f"input {name!r} has the open shape {(None, *shape)}, and integers need every size but the batch; "
                    "build the model with keras.Input of whole sizes"
                )
            self.nodes[name] = Node(name, ARGUMENT, (), (Batch(), *shape), attrs={"index": index})
            names.append(name)
        outputs = self._walk(model, names, "")
        return Graph(tuple(_read_only(self.nodes.values(), outputs)), tuple(outputs), "NHWC")

    def _walk(self, model: Any, inputs: Iterable[str], scope: str) -> list[str]:
        values = {id(tensor): name for tensor, name in zip(model.inputs, inputs, strict=True)}
        for node in _calls(model):
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
                name, count = self._name(inner, scope), len(outputs)
                results = [
                    self._visit(layer, inner, node, sources, name, tuple(each.shape[1:]), None if count == 1 else index)
                    for index, each in enumerate(outputs)
                ]
            if inner is not layer and results == sources:  # the quantizer of an input, on a layer that does nothing
                self.wrappers[sources[0]] = layer
            for tensor, name in zip(outputs, results, strict=True):
                values[id(tensor)] = name
        return [values[id(tensor)] for tensor in model.outputs]

    def _visit(
        self,
        wrapper: Any,
        layer: Any,
        node: Any,
        sources: list[str],
        name: str,
        shape: tuple[int, ...],
        index: int | None,
    ) -> str:
        name = name if index is None else f"{name}.part{index}"
        owner = self._owners.setdefault(id(layer), name)
        in_shapes = [self.nodes[source].sample_shape for source in sources]
        made = nodes_of(Call(layer, node, name, owner, tuple(sources), in_shapes, shape, _kernel(wrapper), index))
        function = type(layer).__name__ in FUNCTION_LAYERS
        for one in made:
            self.nodes[one.name] = one
            if one.op == UNKNOWN and index is not None:
                raise UnsupportedOp(f"{name}: no integer form is known of a layer that gives several tensors", [name])
            if one.op == UNKNOWN:
                alone = one.name == name
                self.floats[one.name] = _recaller(node) if function else evaluator(layer) if alone else layer.activation
            if one.op == BATCH_NORM:
                self.norm_weights[one.name] = layer.get_weights()
            if (
                one.weighted
                or (is_op(one) and op_of(one).arity == 2)
                or (one.op in MOVES and (function or one.op == "slice" or len(made) > 1))
            ):
                continue
            if one.name == name and type(layer).__name__ != "Activation":
                self.again[name] = partial(recall, node) if function else partial(call_again, layer, name)
            else:
                self.again[one.name] = partial(_activate, layer.activation, one.name)
        return made[-1].name if made else sources[0]

    def _name(self, layer: Any, scope: str) -> str:
        name = f"{scope}{layer.name}"
        count = self._calls.get(name, 0)
        self._calls[name] = count + 1
        return name if not count else f"{name}__call{count}"


def _read_only(nodes: Iterable[Node], outputs: Iterable[str]) -> list[Node]:
    """The nodes without the moves that nobody reads: tensors of a split or unstack that are not used."""
    read, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if node.op not in MOVES or node.name in read:
            read.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _recaller(node: Any) -> Any:
    return lambda *tensors: recall(node, tensors)


def _activate(activation: Any, name: str, tensors: list[Any]) -> Any:
    return keras.layers.Activation(activation, name=name)(tensors[0])


def _kernel(wrapper: Any) -> Any:
    """The variable behind the kernel of a wrapped layer, whose own attribute holds the quantized tensor."""
    variables = getattr(wrapper, "_weight_vars", None)
    return variables[0][0] if variables else None


def _calls(model: Any) -> Iterator[Any]:
    """The calls of layers in the order of execution."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from model._nodes_by_depth[depth]


def _flat(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]

"""A torch model read into a Graph."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.refusals import refused_by
from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.joining import with_samples
from mpq_plugins.graph.logic import WHOLE
from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, CONSTANT, RAW, UNKNOWN, Batch, Graph, Node, Shape
from mpq_plugins.graph.reading import settled
from mpq_plugins.graph.refusals import Refuses, refuses_nothing
from mpq_plugins.graph.transposed_volumes import CONV_TRANSPOSE3D
from mpq_plugins.graph.volumes import CONV3D
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import PLAIN, ModelInput
from mpq_torch.calling.arguments import Takes, leaves_of
from mpq_torch.calling.own_copy import unwrapped
from mpq_torch.calling.surroundings import one_at_a_time
from mpq_torch.reader import products
from mpq_torch.reader.arguments import containers, leaves, placeholders_of
from mpq_torch.reader.call import Call
from mpq_torch.reader.example import example_of
from mpq_torch.reader.float_calls import FloatCall, float_call, sources_of, stays_a_call
from mpq_torch.reader.float_functions import described
from mpq_torch.reader.folded import folds, missing_axes, spread
from mpq_torch.reader.given import check_given
from mpq_torch.reader.remembering import traced_once
from mpq_torch.reader.returned import made, mapped, structure
from mpq_torch.reader.rules import inner_call, made_of
from mpq_torch.reader.shape_values import computes_sizes
from mpq_torch.reader.shapes import Observed
from mpq_torch.reader.tracers import Seen
from mpq_torch.reader.tracing import CALLS, name_nodes
from mpq_torch.runner.threads import one_thread
from mpq_torch.runner.torch_runner import TorchRunner


@dataclass(frozen=True)
class Reading:
    """A model as data, and what of it only torch can do.

    traced: the copy of the model that was traced; its modules are at their paths. runner: with the float parts.
    returned: what the model returns, an Output in the place of each tensor, and Made for objects of other classes.
    calls: of the traced model, by the "float" node that stands for them; one without a call is the node that it was.
    computed: the functional layers and norms whose weights the model computes from its parameters.
    decided: names of plain arguments that Python code asked for.
    one_batch_size: why it takes no batch of another size than the example's; "" where it does.
    """

    graph: Graph
    runner: TorchRunner
    traced: fx.GraphModule
    returned: Any
    calls: Mapping[str, FloatCall]
    computed: tuple[str, ...] = ()
    one_batch_size: str = ""
    decided: frozenset[str] = frozenset()

    @property
    def takes(self) -> Takes:
        """The arguments of the model as it was read; what plain ones were is their default."""
        nodes = placeholders_of(self.traced)
        defaults = {str(node.target): node.args[0] for node in nodes if node.args}
        plain = {plain.name: plain.value for plain in self.graph.plain if plain.place == (plain.name,)}
        return Takes(tuple(str(node.target) for node in nodes), (), {**defaults, **plain})

    def given(self, batch: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments of the graph from those of the model.

        Raises ModelError where one is missing, and where a plain one that decided what the graph is was another.
        """
        found = dict(leaves_of(dict(zip(self.takes.names, batch, strict=False))))
        for plain in self.graph.plain:
            value = found.setdefault(plain.place, plain.value)
            other = isinstance(value, Tensor) or value != plain.value
            if (plain.name not in self.graph or plain.name in self.decided) and other:
                raise ModelError(
                    f"argument {plain.name} is {value!r:.80}, and the model was read with {plain.value!r}, which "
                    "decides what it computes; search with batches that have the other value for a recipe of that model"
                )
        missing = [node.name for node in self.graph.arguments if _place(node) not in found]
        if missing:
            raise ModelError(f"the model needs the arguments {', '.join(missing)} too")
        given = tuple(found[_place(node)] for node in self.graph.arguments)
        for node, value in zip(self.graph.arguments, given, strict=True):
            check_given(node, value)
        return given

    def structured(self, outputs: Sequence[Any]) -> Any:
        """The graph's outputs as the model returns them."""
        return mapped(self.returned, lambda leaf: outputs[leaf.index] if isinstance(leaf, Output) else leaf, made)


@dataclass(frozen=True)
class Output:
    """A tensor that a model returns. index: among the outputs of its graph."""

    index: int


@one_at_a_time
@one_thread()
def read_model(
    model: nn.Module,
    example: Sequence[Any] | None,
    keep_float: Iterable[str] = (),
    inputs: Sequence[ModelInput] = (),
    target: Target | None = None,
    *,
    refusing: bool = False,
) -> Reading:
    """Read a model, which is left untouched.

    example: the model's arguments, with a batch axis; None where ``inputs`` says what they are.
    keep_float: names of modules and ops, or patterns of them, to leave in float.
    target: whose kernels the graph is to fit (``graph.fitted``). refusing: refuse what it cannot compute.
    Recurrent layers are unrolled for a target without float arithmetic.
    Raises ModelError where torch.fx cannot trace the model or the example does not go through it, NonFiniteValues, and
    UnsupportedOp, with all names, where an op that has no integer form stands in front of a quantizable weight.
    """
    model = unwrapped(model)
    if example is None:
        example = example_of(model, inputs)
    refuses = refused_by(target) if refusing and target is not None else refuses_nothing
    unrolled = target is not None and not target.float_arithmetic
    return _Reader(*traced_once(model, example, unrolled), example).read(keep_float, target, refuses)


def read_seen(seen: Seen, example: Sequence[Any], keep_float: Iterable[str] = ()) -> Reading:
    """What a model is that was traced already."""
    return _Reader(*seen, example).read(keep_float, None, refuses_nothing)


def _shape_of(value: Any) -> Shape:
    """The shape of an argument that nobody reads."""
    return (Batch(), *value.shape[1:]) if isinstance(value, Tensor) and value.dim() else ()


def _place(node: Node) -> tuple[str | int, ...]:
    """Where an argument of a graph is among those of the model."""
    return tuple(node.attrs.get("path", ())) or (node.name,)


def _described(call: Call, sources: Sequence[fx.Node]) -> dict[str, Any]:
    """What the function is that a float part computes, whether or not it was written as a module of its own."""
    found = inner_call(call, sizing=True)
    if found is None:
        return described(call, sources)
    inner, outer = found
    if not set(sources_of(inner.node)) <= set(outer):
        return {}  # it reads what it computes of sizes and of the model's own tensors
    within = {source: node for node, source in outer.items()}
    return described(inner, [within[source] for source in sources])


class _Reader:
    def __init__(self, traced: fx.GraphModule, observed: Observed, example: Sequence[Any]) -> None:
        self.traced = traced
        self.observed = observed
        self.leaves = list(leaves(traced, example))
        self.passed = {*containers(traced, example), *(node for leaf in self.leaves for node in leaf.nodes)}
        folded = {node for node in traced.graph.nodes if node.op in CALLS and folds(node, observed)}
        self.own = name_nodes(traced, [leaf.name for leaf in self.leaves], folded)
        self.names: dict[fx.Node, str] = {}
        self.nodes: list[Node] = []
        self.calls: dict[str, FloatCall] = {}
        self.computed: list[str] = []
        self.outputs: list[str] = []
        self.constants: set[str] = set()
        self.sizes: set[fx.Node] = set()

    def read(self, keep_float: Iterable[str], target: Target | None, refuses: Refuses) -> Reading:
        returned: Any = None
        self._arguments()
        for node in self.traced.graph.nodes:
            if node in self.passed:
                continue
            if node.op == "get_attr":
                value = self._attribute(str(node.target))
                if self.own[node] in self.constants:  # a constant of forward(), used again
                    self.names[node] = self.own[node]
                elif isinstance(value, Tensor):
                    self.constants.add(self.own[node])
                    self._constant(node, value)
            elif node.op in CALLS and folds(node, self.observed):
                self._fold(node, self.observed.constants[node])
            elif node.op in CALLS and (computes_sizes(node, self.sizes) or self._counts(node)):
                self.sizes.add(node)
            elif node.op in CALLS and not isinstance(node.target, type):
                self._call(node)
            elif node.op == "output":
                returned = mapped(structure(node.args[0]), self._returned, lambda m: m)
        plain = [leaf for leaf in self.leaves if not isinstance(leaf.value, Tensor)]
        given = (
            ModelInput(leaf.name, (), PLAIN, () if leaf.keys == (leaf.name,) else leaf.keys, leaf.value)
            for leaf in plain
        )
        read = Graph(self._reaching(self.outputs), tuple(self.outputs), "NCHW", tuple(given))
        graph = settled(with_samples(read), keep_float, target=target, refuses=refuses)
        floats = [graph[name] for name in graph.float_ops]
        named = {node.name: node for node in self.nodes}
        calls = {node.name: self._placed(graph, node) for node in floats if stays_a_call(node, self.calls, named)}
        decided = frozenset(leaf.name for leaf in plain if not self.observed.decided.isdisjoint(leaf.nodes))
        runner, computed = TorchRunner(calls, self._device()), tuple(self.computed)
        return Reading(graph, runner, self.traced, returned, calls, computed, self.observed.one_batch_size, decided)

    def _counts(self, node: fx.Node) -> bool:
        """Whether a call gives a tensor of whole numbers, made of sizes and constants: who reads it knows its value."""
        value, sources = self.observed.constants.get(node), node.all_input_nodes
        if value is None:  # numbers of samples
            return node in self.observed.whole and bool(sources) and self.sizes.issuperset(sources)
        return not value.is_floating_point() and not self.sizes.isdisjoint(sources)

    def _device(self) -> torch.device:
        """Where the example is, and everything is computed."""
        return next((leaf.value.device for leaf in self.leaves if isinstance(leaf.value, Tensor)), torch.device("cpu"))

    def _fold(self, node: fx.Node, value: Tensor) -> None:
        """A constant of the graph; the tensor of the model itself where it is that."""
        for source in node.all_input_nodes:
            held = self._attribute(str(source.target)) if source.op == "get_attr" else None
            if isinstance(held, Tensor) and held.shape == value.shape and torch.equal(held, value):
                self.names[node] = self.names[source]
                return
        self._constant(node, value)

    def _constant(self, node: fx.Node, value: Tensor) -> None:
        """A constant, with as many axes as the sums and products have that read it."""
        missing = missing_axes(node, self.observed, value.dim())
        self._add(node, CONSTANT, {"value": value[(None,) * missing].detach().cpu().numpy()})

    def _add(self, node: fx.Node, op: str, attrs: Mapping[str, Any]) -> None:
        name = self.own[node]
        self.names[node] = name
        shape = self.observed.shapes.get(node, ())
        axes = np.ndim(attrs["value"]) if "value" in attrs else 0
        shape = (*[1] * (axes - len(shape)), *shape)
        if op == CONSTANT and shape and not isinstance(shape[0], Batch):
            shape = (Batch(shape[0]), *shape[1:])
        self.nodes.append(Node(name, op, (), shape, attrs=attrs))

    def _arguments(self) -> None:
        """Nodes for the tensors and plain values of the arguments."""
        for index, leaf in enumerate(self.leaves):
            place = {} if leaf.keys == (leaf.name,) else {"path": leaf.keys}
            self.names.update((node, leaf.name) for node in leaf.nodes)
            shapes = [self.observed.shapes[node] for node in leaf.nodes if node in self.observed.shapes]
            shape = shapes[0] if shapes else _shape_of(leaf.value)
            attrs = {"index": index, **self._argument(leaf.value), **place}
            self.nodes.append(Node(leaf.name, ARGUMENT, (), shape, attrs=attrs))

    def _argument(self, given: Any) -> dict[str, Any]:
        """What is known of an argument; of a tensor its type, and the samples where the model takes so many only."""
        if not isinstance(given, Tensor):
            return {}
        samples = {"samples": len(given)} if self.observed.one_batch_size and given.dim() else {}
        return {"dtype": str(given.dtype).removeprefix("torch."), **samples}

    def _reaching(self, outputs: Sequence[str]) -> tuple[Node, ...]:
        """The nodes without those whose values nobody reads: weights of functional layers, tensors asked for sizes."""
        read = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if "dtype" in node.attrs or node.name in read:
                read.update(node.inputs)
                kept.append(node)
        return tuple(reversed(kept))

    def _returned(self, node: Any) -> Any:
        if not isinstance(node, fx.Node):
            return node
        if node not in self.names:
            return self.observed.values.get(node)
        self.outputs.append(self.names[node])
        return Output(len(self.outputs) - 1)

    def _attribute(self, path: str) -> Any:
        return operator.attrgetter(path)(self.traced)

    def _call(self, node: fx.Node) -> None:
        module = self.traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        call = Call(node, self.own[node], module, self.names, self.observed, self._attribute)
        made = made_of(call)
        whole = node in self.observed.whole and node not in self.observed.constants
        if whole and not isinstance(made, fx.Node):
            made = call.unknown(WHOLE)
        if isinstance(made, fx.Node):
            self.names[node] = self.names[made]
            return
        if isinstance(made, list):
            self.nodes += made
            self.computed += [each.name for each in made if each.weighted and call.node.target in products.FUNCTIONS]
            if made:
                self.names[node] = made[-1].name
            return
        computed = (
            call.computes_parameters or call.node.target in products.FUNCTIONS or made.op in (CONV3D, CONV_TRANSPOSE3D)
        )
        if computed and (made.weighted or made.op == BATCH_NORM):
            self.computed.append(made.name)
        if made.op == UNKNOWN:
            made_call = float_call(self.traced, node, self.sizes, lambda sources: range(len(sources)))
            assert made_call is not None
            attrs = {**made.attrs, **_described(call, made_call.sources)}
            made = replace(made, inputs=tuple(self.names[source] for source in made_call.sources), attrs=attrs)
        else:
            made_call = float_call(self.traced, node, self.sizes, lambda sources: self._positions(sources, made.inputs))
        if made_call is not None and not made.weighted and made.op != AFFINE:
            self.calls[made.name] = replace(made_call, spread=spread(node, self.observed))
        self.names[node] = made.name
        self.nodes.append(made)

    def _placed(self, graph: Graph, node: Node) -> FloatCall:
        on_grids = frozenset(index for index, name in enumerate(node.inputs) if graph[name].op not in RAW)
        return replace(self.calls[node.name], dense=on_grids)

    def _positions(self, sources: list[fx.Node], inputs: tuple[str, ...]) -> list[int] | None:
        names = [self.names.get(source, "") for source in sources]
        return [inputs.index(name) for name in names] if set(names) <= set(inputs) else None

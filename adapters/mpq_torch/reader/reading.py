"""A torch model read into a Graph through torch.fx."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import ARGUMENT, CONSTANT, RAW, UNKNOWN, Batch, Graph, Node
from mpq_plugins.graph.reading import settled
from mpq_plugins.targets import Target
from mpq_torch.reader.call import Call
from mpq_torch.reader.float_calls import FloatCall, float_call
from mpq_torch.reader.float_functions import described
from mpq_torch.reader.rules import inner_call, made_of
from mpq_torch.reader.shape_values import is_shape_value
from mpq_torch.reader.shapes import Observed, observe
from mpq_torch.reader.tracing import CALLS, argument_names, name_nodes, trace
from mpq_torch.runner import TorchRunner


@dataclass(frozen=True)
class Reading:
    """A model as data, and what of it only torch can do.

    traced: the copy of the model that was traced; its modules are at their paths. runner: with the float parts.
    returned: what the model returns, an Output in the place of each tensor. calls: of the traced model, by the "float"
    node that stands for them; one that has no call is the node that it was.
    one_batch_size: why it takes no batch of another size than the example's; "" where it does.
    """

    graph: Graph
    runner: TorchRunner
    traced: fx.GraphModule
    returned: Any
    calls: Mapping[str, FloatCall]
    one_batch_size: str = ""

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of the model's arguments, by name."""
        nodes = [node for node in self.traced.graph.nodes if node.op == "placeholder"]
        return {str(node.target): node.args[0] for node in nodes if node.args}

    def structured(self, outputs: Sequence[Any]) -> Any:
        """The graph's outputs as the model returns them."""
        return pytree.tree_map(lambda leaf: outputs[leaf.index] if isinstance(leaf, Output) else leaf, self.returned)


@dataclass(frozen=True)
class Output:
    """A tensor that a model returns. index: among the outputs of its graph."""

    index: int


def read_model(
    model: nn.Module,
    example: Sequence[Any] | None,
    keep_float: Iterable[str] = (),
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    target: Target | None = None,
) -> Reading:
    """Read a model, which is left untouched.

    example: the model's arguments, with a batch axis; None where ``input_shapes`` has their shapes for one sample, by
        name. keep_float: names of modules and ops, or patterns of them, to leave in float.
        target: whose kernels the graph is to fit (``graph.fitted``).
    Raises ModelError where torch.fx cannot trace the model or the example does not go through it, NonFiniteValues, and
    UnsupportedOp, with all names, where an op that has no integer form stands in front of a quantizable weight.
    """
    traced = trace(model, None if example is None else len(example))
    if example is None:
        example = _example(traced, input_shapes or {})
    takes = len(argument_names(traced))
    if len(example) < takes:
        raise ModelError(f"the model takes {takes} inputs, and the example has {len(example)}")
    return _Reader(traced, observe(traced, example)).read(keep_float, target)


def _example(traced: fx.GraphModule, shapes: Mapping[str, Sequence[int]]) -> list[Any]:
    """Zeros of the shapes that a recipe tells; arguments that it says nothing of take their defaults."""
    found: list[Any] = []
    for node in traced.graph.nodes:
        if node.op != "placeholder":
            continue
        if str(node.target) in shapes:
            found.append(torch.zeros(2, *shapes[str(node.target)]))
        elif node.args:
            found.append(node.args[0])
        else:
            raise ModelError(
                f"nothing is known of the shape of argument {node.target!r}, which no quantized op reads; pass "
                "example_inputs"
            )
    return found


def _stays_a_call(node: Node, calls: Mapping[str, FloatCall]) -> bool:
    was = node.attrs.get("was")
    return node.name in calls and not (was is not None and was.weighted)


def _described(call: Call, sources: Sequence[fx.Node]) -> dict[str, Any]:
    """What the function is that a float part computes, whether or not it was written as a module of its own."""
    found = inner_call(call)
    if found is None:
        return described(call, sources)
    inner, outer = found
    within = {source: node for node, source in outer.items()}
    return described(inner, [within[source] for source in sources])


class _Reader:
    def __init__(self, traced: fx.GraphModule, observed: Observed) -> None:
        self.traced = traced
        self.observed = observed
        self.own = name_nodes(traced)
        self.names: dict[fx.Node, str] = {}
        self.nodes: list[Node] = []
        self.calls: dict[str, FloatCall] = {}

    def read(self, keep_float: Iterable[str], target: Target | None) -> Reading:
        arguments = argument_names(self.traced)
        returned: Any = None
        outputs: list[str] = []
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self._add(node, ARGUMENT, {"index": arguments.index(str(node.target))})
            elif node.op == "get_attr":
                value = self._attribute(str(node.target))
                if isinstance(value, Tensor):
                    self._add(node, CONSTANT, {"value": value.detach().cpu().numpy()})
            elif node.op in CALLS and not is_shape_value(node):
                self._call(node)
            elif node.op == "output":
                returned = pytree.tree_map_only(fx.Node, lambda n: self._returned(n, outputs), node.args[0])
        graph = settled(Graph(tuple(self._read_only()), tuple(outputs), "NCHW"), keep_float, target=target)
        floats = [graph[name] for name in graph.float_ops]
        calls = {node.name: self._placed(graph, node) for node in floats if _stays_a_call(node, self.calls)}
        return Reading(graph, TorchRunner(calls), self.traced, returned, calls, self.observed.one_batch_size)

    def _add(self, node: fx.Node, op: str, attrs: Mapping[str, Any]) -> None:
        name = self.own[node]
        self.names[node] = name
        shape = self.observed.shapes.get(node, ())
        if op == CONSTANT and shape and not isinstance(shape[0], Batch):
            shape = (Batch(shape[0]), *shape[1:])
        self.nodes.append(Node(name, op, (), shape, attrs=attrs))

    def _read_only(self) -> list[Node]:
        """The nodes without constants that nobody reads: weights of functional layers."""
        read = {name for node in self.nodes for name in node.inputs}
        return [node for node in self.nodes if node.op != CONSTANT or node.name in read]

    def _returned(self, node: fx.Node, outputs: list[str]) -> Any:
        if node not in self.names:
            return self.observed.values.get(node)
        outputs.append(self.names[node])
        return Output(len(outputs) - 1)

    def _attribute(self, path: str) -> Any:
        return operator.attrgetter(path)(self.traced)

    def _call(self, node: fx.Node) -> None:
        module = self.traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        call = Call(node, self.own[node], module, self.names, self.observed, self._attribute)
        made = made_of(call)
        if isinstance(made, fx.Node):
            self.names[node] = self.names[made]
            return
        if isinstance(made, list):
            self.nodes += made
            if made:
                self.names[node] = made[-1].name
            return
        if made.op == UNKNOWN:
            made_call = float_call(self.traced, node, lambda sources: range(len(sources)))
            assert made_call is not None
            attrs = {**made.attrs, **_described(call, made_call.sources)}
            made = replace(made, inputs=tuple(self.names[source] for source in made_call.sources), attrs=attrs)
        else:
            made_call = float_call(self.traced, node, lambda sources: self._positions(sources, made.inputs))
        if made_call is not None and not made.weighted:
            self.calls[made.name] = made_call
        self.names[node] = made.name
        self.nodes.append(made)

    def _placed(self, graph: Graph, node: Node) -> FloatCall:
        on_grids = frozenset(index for index, name in enumerate(node.inputs) if graph[name].op not in RAW)
        return replace(self.calls[node.name], dense=on_grids)

    def _positions(self, sources: list[fx.Node], inputs: tuple[str, ...]) -> list[int] | None:
        names = [self.names.get(source, "") for source in sources]
        return [inputs.index(name) for name in names] if set(names) <= set(inputs) else None

"""A torch model read into a Graph through torch.fx."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import ARGUMENT, CONSTANT, UNKNOWN, Batch, Graph, Node
from mpq_plugins.graph.reading import settled
from mpq_torch.reader.call import Call
from mpq_torch.reader.float_functions import described
from mpq_torch.reader.rules import node_of
from mpq_torch.reader.shape_values import is_shape_value
from mpq_torch.reader.shapes import Observed, observe
from mpq_torch.reader.tracing import CALLS, argument_names, name_nodes, trace
from mpq_torch.runner import TorchRunner


@dataclass(frozen=True)
class Reading:
    """A model as data, and what of it only torch can do.

    traced: the copy of the model that was traced; its modules are at their paths. runner: with the float parts.
    returned: what the model returns, with indices into the graph's outputs in the place of tensors.
    one_batch_size: why it takes no batch of another size than the example's; "" where it does.
    """

    graph: Graph
    runner: TorchRunner
    traced: fx.GraphModule
    returned: Any
    one_batch_size: str = ""

    def structured(self, outputs: Sequence[Any]) -> Any:
        """The graph's outputs as the model returns them."""
        return pytree.tree_map(lambda leaf: outputs[leaf.index] if isinstance(leaf, _Output) else leaf, self.returned)


@dataclass(frozen=True)
class _Output:
    index: int


def read_model(
    model: nn.Module,
    example: Sequence[Any] | None,
    keep_float: Iterable[str] = (),
    input_shapes: Mapping[str, Sequence[int]] | None = None,
) -> Reading:
    """Read a model, which is left untouched.

    example: the model's arguments, with a batch axis; None where ``input_shapes`` has their shapes for one sample, by
        name. keep_float: names of modules and ops, or patterns of them, to leave in float.
    Raises ModelError where torch.fx cannot trace the model or the example does not go through it, NonFiniteValues, and
    UnsupportedOp, with all names, where an op that has no integer form stands in front of a quantizable weight.
    """
    traced = trace(model, None if example is None else len(example))
    if example is None:
        example = _example(traced, input_shapes or {})
    takes = len(argument_names(traced))
    if len(example) < takes:
        raise ModelError(f"the model takes {takes} inputs, and the example has {len(example)}")
    return _Reader(traced, observe(traced, example)).read(keep_float)


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
                f"nothing is known of the shape of argument {node.target!r}, which no quantized op reads; give "
                "calibration data"
            )
    return found


class _Reader:
    def __init__(self, traced: fx.GraphModule, observed: Observed) -> None:
        self.traced = traced
        self.observed = observed
        self.own = name_nodes(traced)
        self.names: dict[fx.Node, str] = {}
        self.nodes: list[Node] = []
        self.floats: dict[str, Callable[..., Any]] = {}

    def read(self, keep_float: Iterable[str]) -> Reading:
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
        graph = settled(Graph(tuple(self._read_only()), tuple(outputs), "NCHW"), keep_float)
        return Reading(graph, TorchRunner(self.floats), self.traced, returned, self.observed.one_batch_size)

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
        return _Output(len(outputs) - 1)

    def _attribute(self, path: str) -> Any:
        return operator.attrgetter(path)(self.traced)

    def _call(self, node: fx.Node) -> None:
        module = self.traced.get_submodule(str(node.target)) if node.op == "call_module" else None
        call = Call(node, self.own[node], module, self.names, self.observed, self._attribute)
        made = node_of(call)
        if isinstance(made, fx.Node):
            self.names[node] = self.names[made]
            return
        if made.op == UNKNOWN:
            sources, function = self._float_part(node)
            attrs = {**made.attrs, **described(call, sources)}
            made = Node(made.name, UNKNOWN, tuple(self.names[n] for n in sources), made.shape, attrs=attrs)
            self.floats[made.name] = function
        self.names[node] = made.name
        self.nodes.append(made)

    def _float_part(self, node: fx.Node) -> tuple[list[fx.Node], Callable[..., Any]]:
        """The tensors that an op reads, and what it computes from them; sizes that it needs are taken from them too."""
        order: list[fx.Node] = []
        sources: list[fx.Node] = []

        def visit(needed: fx.Node) -> None:
            if needed in sources or needed in order:
                return
            if is_shape_value(needed):
                for before in needed.all_input_nodes:
                    visit(before)
                order.append(needed)
            else:
                sources.append(needed)

        for needed in node.all_input_nodes:
            visit(needed)
        interpreter = fx.Interpreter(self.traced)

        def compute(*tensors: Any) -> Any:
            interpreter.env = dict(zip(sources, tensors, strict=True))
            for step in (*order, node):
                args, kwargs = interpreter.fetch_args_kwargs_from_env(step)
                interpreter.env[step] = getattr(interpreter, step.op)(step.target, args, kwargs)
            return interpreter.env[node]

        return sources, compute

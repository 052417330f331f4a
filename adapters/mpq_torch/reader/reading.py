"""A torch model read into a Graph."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.refusals import refused_by
from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, CONSTANT, RAW, UNKNOWN, Batch, Graph, Node
from mpq_plugins.graph.reading import settled
from mpq_plugins.graph.refusals import Refuses, refuses_nothing
from mpq_plugins.inventory import ModelInput
from mpq_plugins.targets import Target
from mpq_torch.reader.call import Call
from mpq_torch.reader.float_calls import FloatCall, float_call
from mpq_torch.reader.float_functions import described
from mpq_torch.reader.own_copy import unwrapped
from mpq_torch.reader.remembering import traced_once
from mpq_torch.reader.returned import made, mapped, structure
from mpq_torch.reader.rules import inner_call, made_of
from mpq_torch.reader.shape_values import is_shape_value
from mpq_torch.reader.shapes import SIZES, Observed
from mpq_torch.reader.tracing import CALLS, argument_names, name_nodes
from mpq_torch.runner import TorchRunner
from mpq_torch.surroundings import one_at_a_time


@dataclass(frozen=True)
class Reading:
    """A model as data, and what of it only torch can do.

    traced: the copy of the model that was traced; its modules are at their paths. runner: with the float parts.
    returned: what the model returns, an Output in the place of each tensor, and Made for objects of other classes.
    calls: of the traced model, by the "float" node that stands for them; one without a call is the node that it was.
    computed: the functional layers and norms whose weights the model computes from its parameters.
    one_batch_size: why it takes no batch of another size than the example's; "" where it does.
    """

    graph: Graph
    runner: TorchRunner
    traced: fx.GraphModule
    returned: Any
    calls: Mapping[str, FloatCall]
    computed: tuple[str, ...] = ()
    one_batch_size: str = ""

    @property
    def defaults(self) -> dict[str, Any]:
        """The defaults of the model's arguments, by name."""
        nodes = [node for node in self.traced.graph.nodes if node.op == "placeholder"]
        return {str(node.target): node.args[0] for node in nodes if node.args}

    def structured(self, outputs: Sequence[Any]) -> Any:
        """The graph's outputs as the model returns them."""
        return mapped(self.returned, lambda leaf: outputs[leaf.index] if isinstance(leaf, Output) else leaf, made)


@dataclass(frozen=True)
class Output:
    """A tensor that a model returns. index: among the outputs of its graph."""

    index: int


@one_at_a_time
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


def example_of(model: nn.Module, inputs: Sequence[ModelInput]) -> list[Any]:
    """Zeros for the inputs that a recipe tells, two where it is open how many; other arguments take their defaults."""
    found: list[Any] = []
    known = {taken.name: taken for taken in inputs}
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            continue
        if parameter.name in known:
            taken = known[parameter.name]
            shape = [SIZES[0] if size is None else size for size in taken.shape]
            found.append(torch.zeros(shape, dtype=getattr(torch, taken.dtype, torch.float32)))
        elif parameter.default is not inspect.Parameter.empty:
            found.append(parameter.default)
        else:
            raise ModelError(f"nothing is known of the shape of argument {parameter.name!r}; pass example_inputs")
    return found


def _stays_a_call(node: Node, calls: Mapping[str, FloatCall], ops: Mapping[str, str]) -> bool:
    """Whether a float node is the call of its name still: no layer, and no function that several calls make."""
    was = node.attrs.get("was")
    return node.name in calls and (was is None or (not was.weighted and was.op == ops[node.name]))


def _described(call: Call, sources: Sequence[fx.Node]) -> dict[str, Any]:
    """What the function is that a float part computes, whether or not it was written as a module of its own."""
    found = inner_call(call)
    if found is None:
        return described(call, sources)
    inner, outer = found
    within = {source: node for node, source in outer.items()}
    return described(inner, [within[source] for source in sources])


class _Reader:
    def __init__(self, traced: fx.GraphModule, observed: Observed, example: Sequence[Any]) -> None:
        self.traced = traced
        self.observed = observed
        self.example = example
        self.own = name_nodes(traced)
        self.names: dict[fx.Node, str] = {}
        self.nodes: list[Node] = []
        self.calls: dict[str, FloatCall] = {}
        self.computed: list[str] = []
        self.outputs: list[str] = []
        self.constants: set[str] = set()

    def read(self, keep_float: Iterable[str], target: Target | None, refuses: Refuses) -> Reading:
        arguments = argument_names(self.traced)
        returned: Any = None
        for node in self.traced.graph.nodes:
            if node.op == "placeholder":
                self._add(node, ARGUMENT, self._argument(arguments.index(str(node.target))))
            elif node.op == "get_attr":
                value = self._attribute(str(node.target))
                if self.own[node] in self.constants:  # a constant of forward(), used again
                    self.names[node] = self.own[node]
                elif isinstance(value, Tensor):
                    self.constants.add(self.own[node])
                    self._add(node, CONSTANT, {"value": value.detach().cpu().numpy()})
            elif node.op in CALLS and not (is_shape_value(node) or isinstance(node.target, type)):
                self._call(node)
            elif node.op == "output":
                returned = mapped(structure(node.args[0]), self._returned, lambda m: m)
        graph = settled(
            Graph(self._reaching(self.outputs), tuple(self.outputs), "NCHW"), keep_float, target=target, refuses=refuses
        )
        floats = [graph[name] for name in graph.float_ops]
        ops = {node.name: node.op for node in self.nodes}
        calls = {node.name: self._placed(graph, node) for node in floats if _stays_a_call(node, self.calls, ops)}
        computed = tuple(self.computed)
        return Reading(graph, TorchRunner(calls), self.traced, returned, calls, computed, self.observed.one_batch_size)

    def _add(self, node: fx.Node, op: str, attrs: Mapping[str, Any]) -> None:
        name = self.own[node]
        self.names[node] = name
        shape = self.observed.shapes.get(node, ())
        if op == CONSTANT and shape and not isinstance(shape[0], Batch):
            shape = (Batch(shape[0]), *shape[1:])
        self.nodes.append(Node(name, op, (), shape, attrs=attrs))

    def _argument(self, index: int) -> dict[str, Any]:
        """What is known of an argument; of a tensor its type, and the samples where the model takes so many only."""
        given = self.example[index] if index < len(self.example) else None
        if not isinstance(given, Tensor):
            return {"index": index}
        samples = {"samples": len(given)} if self.observed.one_batch_size and given.dim() else {}
        return {"index": index, "dtype": str(given.dtype).removeprefix("torch."), **samples}

    def _reaching(self, outputs: Sequence[str]) -> tuple[Node, ...]:
        """The nodes without those whose values nobody reads: weights of functional layers, tensors asked for sizes."""
        read = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if node.op == ARGUMENT or node.name in read:
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
        if isinstance(made, fx.Node):
            self.names[node] = self.names[made]
            return
        if isinstance(made, list):
            self.nodes += made
            if made:
                self.names[node] = made[-1].name
            return
        if call.computes_parameters and (made.weighted or made.op == BATCH_NORM):
            self.computed.append(made.name)
        if made.op == UNKNOWN:
            made_call = float_call(self.traced, node, lambda sources: range(len(sources)))
            assert made_call is not None
            attrs = {**made.attrs, **_described(call, made_call.sources)}
            made = replace(made, inputs=tuple(self.names[source] for source in made_call.sources), attrs=attrs)
        else:
            made_call = float_call(self.traced, node, lambda sources: self._positions(sources, made.inputs))
        if made_call is not None and not made.weighted and made.op != AFFINE:
            self.calls[made.name] = made_call
        self.names[node] = made.name
        self.nodes.append(made)

    def _placed(self, graph: Graph, node: Node) -> FloatCall:
        on_grids = frozenset(index for index, name in enumerate(node.inputs) if graph[name].op not in RAW)
        return replace(self.calls[node.name], dense=on_grids)

    def _positions(self, sources: list[fx.Node], inputs: tuple[str, ...]) -> list[int] | None:
        names = [self.names.get(source, "") for source in sources]
        return [inputs.index(name) for name in names] if set(names) <= set(inputs) else None

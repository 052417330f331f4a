"""Calls of a traced model that stay float: what they compute, and how they are written into another graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from mpq_plugins.graph.node import Node
from mpq_torch.modules.methods import of_constant
from mpq_torch.reader.call import Made
from mpq_torch.reader.shape_values import is_shape_value


@dataclass(frozen=True)
class Spread:
    """over: a source with all samples. axes: how many that has. rest: those of the constant behind its first."""

    over: fx.Node
    axes: int
    rest: int

    def written(self, graph: fx.Graph, constant: fx.Node, over: fx.Node) -> fx.Node:
        """The constant for every sample; by places, since torch.ao's tracer gives a buffer no number that it traces."""
        first = graph.call_function(operator.getitem, (over, (slice(None), *[0] * (self.axes - 1))))
        places = graph.call_function(torch.zeros_like, (first,), {"dtype": torch.int64})
        return graph.call_function(torch.index_select, (constant, 0, places))


@dataclass(frozen=True)
class FloatCall:
    """One call of a traced graph, with the sizes that it needs.

    node: the call. sizes: the nodes that compute sizes for it, in order. sources: the tensors that both read.
    positions: of each source among the inputs of the Node that stands for the call. dense: those of them that come
    from the part on grids; their elements are put in the order of the axes, since functions such as exp give other
    last bits where they lie otherwise. spread: sources that are constants of one sample, which the call reads for every
    sample of another source.
    """

    traced: fx.GraphModule
    node: fx.Node
    sizes: tuple[fx.Node, ...]
    sources: tuple[fx.Node, ...]
    positions: tuple[int, ...]
    dense: frozenset[int] = frozenset()
    spread: Mapping[fx.Node, Spread] = field(default_factory=dict)

    @property
    def module(self) -> nn.Module | None:
        """The module that is called; None of a function."""
        return self.traced.get_submodule(str(self.node.target)) if self.node.op == "call_module" else None

    def __call__(self, *tensors: Any) -> Any:
        """What the call computes from the Node's inputs."""
        interpreter = fx.Interpreter(self.traced)
        read = [x.contiguous() if index in self.dense else x for index, x in enumerate(tensors)]
        interpreter.env = {
            source: read[position] for source, position in zip(self.sources, self.positions, strict=True)
        }
        for source, spread in self.spread.items():
            x, samples = interpreter.env[source], len(interpreter.env[spread.over])
            interpreter.env[source] = x.expand(samples, *[-1] * spread.rest)
        for step in (*self.sizes, self.node):
            args, kwargs = interpreter.fetch_args_kwargs_from_env(step)
            interpreter.env[step] = getattr(interpreter, step.op)(step.target, args, kwargs)
        return interpreter.env[self.node]

    def copied_to(self, graph: fx.Graph, inputs: Sequence[fx.Node]) -> fx.Node:
        """The call at the end of another graph, reading the Node's inputs there."""
        at = {source: inputs[position] for source, position in zip(self.sources, self.positions, strict=True)}
        for source, spread in self.spread.items():
            at[source] = spread.written(graph, at[source], at[spread.over])
        for step in (*self.sizes, self.node):
            at[step] = graph.node_copy(step, lambda n: at[n])
            at[step].meta = {}
            if step.op == "call_method" and len(step.all_input_nodes) > 1 and _is_constant(step.args[0]):
                at[step].op, at[step].target = "call_function", of_constant
                at[step].args = (at[step].args[0], str(step.target), *at[step].args[1:])
                at[step].meta["is_wrapped"] = True
        return at[self.node]

    @property
    def item(self) -> bool:
        """Whether it takes an item out of a tuple."""
        return self.node.target is operator.getitem

    def alone(self, count: int) -> fx.GraphModule:
        """The call as a module of its own, which takes the Node's so many inputs."""
        graph = fx.Graph()
        inputs = [graph.placeholder(f"x{index}") for index in range(count)]
        graph.output(self.copied_to(graph, inputs))
        return fx.GraphModule(nn.Module(), graph)


def float_call(
    traced: fx.GraphModule,
    node: fx.Node,
    counted: Collection[fx.Node],
    positions_of: Callable[[list[fx.Node]], Sequence[int] | None],
) -> FloatCall | None:
    """A call of the traced graph. counted: what it computes of sizes alone, which is computed anew for every call.

    positions_of: the places of its sources among the Node's inputs, or None.
    """
    sizes: list[fx.Node] = []
    sources: list[fx.Node] = []

    def visit(needed: fx.Node) -> None:
        if needed in sources or needed in sizes:
            return
        if needed in counted or is_shape_value(needed):
            for before in needed.all_input_nodes:
                visit(before)
            sizes.append(needed)
        else:
            sources.append(needed)

    for needed in node.all_input_nodes:
        visit(needed)
    positions = positions_of(sources)
    return None if positions is None else FloatCall(traced, node, tuple(sizes), tuple(sources), tuple(positions))


def sources_of(node: fx.Node) -> list[fx.Node]:
    """The tensors that a call reads itself, without what asks for sizes."""
    return [source for source in node.all_input_nodes if not is_shape_value(source)]


def stays_a_call(node: Node, calls: Mapping[str, FloatCall], read: Mapping[str, Node]) -> bool:
    """Whether a float node is the call of its name still: no layer, and no function that several calls make.

    Nor the last of the nodes that it was written out as. read: the nodes that were made of calls, by name.
    """
    was = node.attrs.get("was")
    if node.name not in calls or was is None:
        return node.name in calls
    call = read[node.name]
    return "was" in call.attrs or (not was.weighted and (was.op, len(was.inputs)) == (call.op, len(call.inputs)))


def moving(made: Made, sources: Sequence[str]) -> dict[str, Any]:
    """The attr "was" of a call that moves the elements of one tensor, whatever they are; none of another."""
    node = made[0] if isinstance(made, list) and len(made) == 1 else made
    moves = isinstance(node, Node) and node.op in ("reshape", "transpose", "slice", "upsample")
    return {"was": node} if isinstance(node, Node) and moves and node.inputs == tuple(sources) else {}


def _is_constant(node: Any) -> bool:
    """Whether a tensor depends on nothing but the model's own and on sizes."""
    waiting, seen = [node], {node}
    while waiting:
        one = waiting.pop()
        if one.op == "placeholder":
            return False
        sources = [source for source in one.all_input_nodes if source not in seen and not is_shape_value(source)]
        waiting += sources
        seen.update(sources)
    return True

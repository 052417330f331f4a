"""A graph as a target's kernels have it: functions without a kernel left to float, and compositions written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mpq_plugins.graph.constants import AFFINE, broadcast
from mpq_plugins.graph.node import Graph, Node, Shape, undescribed
from mpq_plugins.graph.ops import all_ops, is_op, op_of
from mpq_plugins.graph.runtimes import runtime_of
from mpq_plugins.graph.runtimes.runtime import Composition, inputs_of
from mpq_plugins.graph.scaling import numbers_as_layers
from mpq_plugins.hardware.target import Target


def without_kernels(graph: Graph, target: Target) -> Graph:
    """The graph with each op that has neither a weight nor a kernel on the target as a node that nobody knows.

    It is then float at the model's end, and refused in front of a weight. Layers stay: a search names them.
    """
    runtime = runtime_of(target)

    def fitted(node: Node) -> Node:
        if not is_op(node) or node.weighted or op_of(node).grid != "own":
            return node
        steps = composition_of(node.op, target)
        missing = [word for word, _ in steps if not _runs(word, target)] if steps and not _runs(node.op, target) else []
        known = bool(steps) or node.op == AFFINE or target.runs(op_of(node).target_word)
        if known and not missing and node.op not in runtime.lacks:
            return node
        of = f", of which {node.op} is made" if missing else ""
        reason = f"target {target.name!r} has no kernel for {', '.join(missing) or node.op}{of}"
        return undescribed(node, reason)

    return graph.mapped(fitted)


def with_compositions(graph: Graph, target: Target) -> Graph:
    """The graph with what its runtime computes in several steps as several nodes, each with a grid of its own.

    Where functions of one element are no tables, a number that scales and shifts is a layer.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        steps = composition_of(node.op, target) if is_op(node) else ()
        nodes += composed(node, steps, [graph[name].shape for name in node.inputs]) if steps else [node]
    graph = replace(graph, nodes=tuple(nodes))
    tables = target.runs(AFFINE) and runtime_of(target).tables
    return graph if tables else numbers_as_layers(graph)


def composition_of(word: str, target: Target) -> Composition:
    """The steps that compute an op on a target: its runtime's, or those of the op's own record; none for a kernel."""
    return runtime_of(target).compositions.get(word, all_ops()[word].steps)


def _runs(word: str, target: Target) -> bool:
    runtime = runtime_of(target)
    own = word in runtime.compositions or (target.runs(all_ops()[word].target_word) and not all_ops()[word].steps)
    return own and word not in runtime.lacks


def composed(node: Node, composition: Composition, shapes: Sequence[Shape]) -> list[Node]:
    """The nodes of a composition, of which the last has the name and the clamp of the whole.

    shapes: of what the node reads.

    >>> silu = Node("act", "silu", ("conv",))
    >>> steps = composed(silu, (("sigmoid", ("input",)), ("mul", ("input", "sigmoid"))), [()])
    >>> [(step.name, step.op, step.inputs) for step in steps]
    [('act__sigmoid', 'sigmoid', ('conv',)), ('act', 'mul', ('conv', 'act__sigmoid'))]
    """
    places = inputs_of(len(node.inputs))
    names, known, made = dict(zip(places, node.inputs, strict=True)), dict(zip(places, shapes, strict=True)), []
    for word, parts in composition:
        shape = broadcast([known[part] for part in parts])
        made.append(Node(f"{node.name}__{word}", word, tuple(names[part] for part in parts), shape))
        names[word], known[word] = made[-1].name, shape
    return [*made[:-1], replace(node, op=made[-1].op, inputs=made[-1].inputs)]

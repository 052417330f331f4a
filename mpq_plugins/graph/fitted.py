"""A graph as a target's kernels have it: functions without a kernel left to float, and compositions written out."""

from __future__ import annotations

from dataclasses import replace

from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.node import UNKNOWN, Graph, Node
from mpq_plugins.graph.ops import is_op, op_of
from mpq_plugins.graph.runtimes import runtime_of
from mpq_plugins.graph.runtimes.runtime import INPUT, Composition
from mpq_plugins.graph.scaling import numbers_as_layers
from mpq_plugins.targets import Target


def without_kernels(graph: Graph, target: Target) -> Graph:
    """The graph with each op that has neither a weight nor a kernel on the target as a node that nobody knows.

    It is then float at the model's end, and refused in front of a weight. Layers stay: a search names them.
    """
    runtime = runtime_of(target)

    def fitted(node: Node) -> Node:
        if not is_op(node) or node.weighted or op_of(node).grid != "own":
            return node
        known = node.op in runtime.compositions or node.op == AFFINE or target.runs(op_of(node).target_word)
        if known and node.op not in runtime.lacks:
            return node
        reason = f"target {target.name!r} has no kernel for {node.op}"
        return Node(node.name, UNKNOWN, node.inputs, node.shape, attrs={"what": node.op, "reason": reason, "was": node})

    return graph.mapped(fitted)


def with_compositions(graph: Graph, target: Target) -> Graph:
    """The graph with what its runtime computes in several steps as several nodes, each with a grid of its own.

    Where functions of one element are no tables, a number that scales and shifts is a layer.
    """
    known = runtime_of(target).compositions
    nodes: list[Node] = []
    for node in graph.nodes:
        nodes += composed(node, known[node.op]) if is_op(node) and node.op in known else [node]
    graph = replace(graph, nodes=tuple(nodes))
    tables = target.runs(AFFINE) and runtime_of(target).tables
    return graph if tables else numbers_as_layers(graph)


def composed(node: Node, composition: Composition) -> list[Node]:
    """The nodes of a composition, of which the last has the name and the clamp of the whole.

    >>> silu = Node("act", "silu", ("conv",))
    >>> steps = composed(silu, (("sigmoid", ("input",)), ("mul", ("input", "sigmoid"))))
    >>> [(step.name, step.op, step.inputs) for step in steps]
    [('act__sigmoid', 'sigmoid', ('conv',)), ('act', 'mul', ('conv', 'act__sigmoid'))]
    """
    names, made = {INPUT: node.inputs[0]}, []
    for word, parts in composition:
        inputs = tuple(names[part] for part in parts)
        names[word] = f"{node.name}__{word}"
        made.append(Node(names[word], word, inputs, node.shape))
    return [*made[:-1], replace(node, op=made[-1].op, inputs=made[-1].inputs)]

"""Constants of one sample that a model joins with every sample's activation, as the class token of a transformer.

A runtime's concat repeats nothing. So the activation is padded with zeros, and the constant, padded too, added: a sum
repeats what has one sample, each has a grid of its own, and a sum with zero is exact.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.moving import Moving, Part, size_of
from mpq_plugins.graph.node import CONSTANT, Batch, Graph, Node
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.ops import op_of


def joined_by_sums(graph: Graph) -> Graph:
    """The graph with each concat of activations and constants of one sample as a sum.

    Where constants stand between activations, these are joined with zeros between them.
    """
    nodes: list[Node] = []
    graph = _constants_moved(_without_empty_parts(graph))
    for node in graph.nodes:
        nodes += _as_sums(graph, node) if node.op == "concat" and node.name in graph.computed else [node]
    return without_unread_constants(replace(graph, nodes=tuple(nodes)))


def _without_empty_parts(graph: Graph) -> Graph:
    """The graph with concats of what has elements: none of a model's own tokens may be as many as there are."""

    def changed(node: Node) -> Node:
        if node.op != "concat":
            return node
        full = tuple(name for name in node.inputs if graph[name].shape[int(node.attrs["axis"])] != 0)
        if len(full) == 1:
            return Node(node.name, "reshape", full, node.shape)
        return replace(node, inputs=full or node.inputs)

    changed_graph = graph.mapped(changed)
    read = {*graph.outputs, *(name for node in changed_graph.nodes for name in node.inputs)}
    nodes = (node for node in changed_graph.nodes if 0 not in node.shape or node.name in read)
    return replace(changed_graph, nodes=tuple(nodes))


def without_unread_constants(graph: Graph) -> Graph:
    """The graph without constants that nobody reads."""
    read = {*graph.outputs, *(name for node in graph.nodes for name in node.inputs)}
    return replace(graph, nodes=tuple(node for node in graph.nodes if node.op != CONSTANT or node.name in read))


MOVES: Mapping[str, Callable[..., Any]] = {
    "reshape": lambda node, value: value.reshape(1, *node.shape[1:]),
    "transpose": lambda node, value: value.transpose(node.attrs["order"]),
    "concat": lambda node, *values: np.concatenate(values, node.attrs["axis"]),
    AFFINE: lambda node, value: op_of(node).value(NUMPY_RUNNER, node, value),
}
"""What moves and scales the elements of constants: the node, and their values -> the value behind it."""


def _constants_moved(graph: Graph) -> Graph:
    """The graph with constants of one sample in the shape and order in which they are read."""
    nodes: dict[str, Node] = {}
    for node in graph.nodes:
        sources = [nodes[name] for name in node.inputs]
        if node.op in MOVES and node.shape[:1] == (Batch(),) and all(map(_has_one_sample, sources)):
            value = MOVES[node.op](node, *(np.asarray(source.attrs["value"]) for source in sources))
            node = Node(node.name, CONSTANT, (), node.shape, attrs={"value": value})
        nodes[node.name] = node
    return replace(graph, nodes=tuple(nodes.values()))


def with_samples(graph: Graph) -> Graph:
    """The graph with what depends on no argument, where it is of one sample, as the constants that it comes from."""

    def changed(node: Node) -> Node:
        alone = node.name not in graph.computed and node.shape[:1] == (1,)
        return replace(node, shape=(Batch(), *node.shape[1:])) if alone else node

    return graph.mapped(changed)


def _as_sums(graph: Graph, node: Node) -> list[Node]:
    runs = [(alone, list(names)) for alone, names in groupby(node.inputs, lambda name: _of_one_sample(graph, name))]
    activations = [index for index, (alone, _) in enumerate(runs) if not alone]
    if len(runs) == 1 or not activations:
        return [node]
    axis, moving = int(node.attrs["axis"]), Moving(node.name)
    parts = [[Part(name, graph[name].shape) for name in names] for _, names in runs]
    sizes = [sum(size_of(part, axis) for part in run) for run in parts]

    def padded(index: int, before: int, after: int) -> Part:
        sides = [(0, 0)] * len(node.shape)
        sides[axis] = (before, after)
        run = moving.concat(parts[index], axis)
        return moving.pad(run, sides) if before or after else run

    total: Part | None = None
    for index, (alone, names) in enumerate(runs):
        if alone and any(np.any(graph[name].attrs["value"]) for name in names):  # else as the padding of others has it
            term = padded(index, sum(sizes[:index]), sum(sizes[index + 1 :]))
        elif index == activations[0]:
            ends = [*activations[1:], len(runs)]
            first = [sum(sizes[:index]), *[0] * (len(activations) - 1)]
            apart = zip(activations, first, ends, strict=True)
            term = moving.concat([padded(at, before, sum(sizes[at + 1 : end])) for at, before, end in apart], axis)
        else:
            continue
        total = term if total is None else moving.add(total, term, node.shape)
    assert total is not None
    return moving.done(total)


def _of_one_sample(graph: Graph, name: str) -> bool:
    return _has_one_sample(graph[name])


def _has_one_sample(node: Node) -> bool:
    return node.op == CONSTANT and np.shape(node.attrs["value"])[:1] == (1,) and node.shape[:1] == (Batch(),)

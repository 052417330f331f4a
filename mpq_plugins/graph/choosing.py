"""Choices between two activations where there is no float arithmetic: products with zeros and ones, and their sum.

A comparison of two activations is that of their difference, on its own grid, with zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mpq_plugins.graph.constants import ADD, AFFINE, MUL, SUB, broadcast, written_out
from mpq_plugins.graph.logic import CHOOSE, COMPARISONS, is_logic, operands, reads
from mpq_plugins.graph.node import Graph, Node, Operand


def by_products(graph: Graph) -> Graph:
    """The graph with every choice by a comparison that several tensors take part in as such products."""
    nodes: list[Node] = []
    for node in graph.nodes:
        word = node.attrs.get("function")
        several = is_logic(node) and len(set(reads(node))) > 1
        if several and word in COMPARISONS and _of_rank(graph, node):
            nodes += _difference(graph, node)
        elif several and word == CHOOSE and _of_rank(graph, node) and is_logic(graph[reads(node)[0]]):
            nodes += _products(graph, node)
        else:
            nodes.append(node)
    return written_out(replace(graph, nodes=tuple(nodes)))


def _of_rank(graph: Graph, node: Node) -> bool:
    shapes = [graph[name].shape for name in reads(node)]
    return all(len(shape) == len(node.shape) for shape in shapes) and broadcast(shapes) == node.shape


def _difference(graph: Graph, node: Node) -> list[Node]:
    below = Node(f"{node.name}__difference", SUB, reads(node), node.shape)
    attrs = {**node.attrs, "arguments": {"input": Operand(0), "other": 0.0}}
    return [below, replace(node, inputs=(below.name,), attrs=attrs)]


def _products(graph: Graph, node: Node) -> list[Node]:
    given = operands(node)
    condition = node.inputs[given["condition"].index]
    shape = graph[condition].shape
    inverse = Node(f"{node.name}__not", AFFINE, (condition,), shape, attrs={"scale": -1.0, "offset": 1.0})
    made, terms = [inverse], []
    for name, mask, part in (("input", condition, "chosen"), ("other", inverse.name, "else")):
        own, value = f"{node.name}__{part}", given[name]
        if isinstance(value, Operand):
            read = node.inputs[value.index]
            made.append(Node(own, MUL, (read, mask), broadcast([graph[read].shape, shape])))
        else:
            made.append(Node(own, AFFINE, (mask,), shape, attrs=_factor(value)))
        terms.append(made[-1].name)
    return [*made, Node(node.name, ADD, tuple(terms), node.shape)]


def _factor(value: Any) -> Mapping[str, float]:
    return {"scale": float(value), "offset": 0.0}

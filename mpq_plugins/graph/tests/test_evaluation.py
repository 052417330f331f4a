"""Running a graph computes what was asked for, and what that stands on."""

from __future__ import annotations

from mpq_plugins.graph.evaluation import run_nodes
from mpq_plugins.graph.node import Batch, Graph, Node


def test_what_no_wanted_node_stands_on_is_not_computed() -> None:
    shape = (Batch(), 2)
    nodes = (
        Node("x", "argument", (), shape, attrs={"index": 0}),
        Node("x__input", "input", ("x",), shape),
        Node("a", "clamp", ("x__input",), shape, low=0.0),
        Node("b", "clamp", ("a",), shape, low=0.0, high=6.0),
    )
    visited = []

    def step(node, inputs):
        visited.append(node.name)
        return inputs[0] + 1

    assert run_nodes(Graph(nodes, ("b",), "NCHW"), [7], step, ["a"]) == {"a": 9}
    assert visited == ["x__input", "a"]

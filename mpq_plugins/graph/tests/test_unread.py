"""Nodes that nobody reads are left out, but arguments that are tensors."""

from mpq_plugins.graph.node import ARGUMENT, Batch, Node
from mpq_plugins.graph.reading import read_only


def node(name, *inputs):
    return Node(name, "add", inputs, (Batch(), 2))


def argument(name, **attrs):
    return Node(name, ARGUMENT, (), (Batch(), 2), attrs=attrs)


def test_what_leads_to_an_output_stays_in_order_and_the_rest_goes():
    nodes = [
        argument("x", dtype="float32"),
        argument("y", dtype="float32"),
        argument("number"),
        node("a", "x"),
        node("b", "a"),
        node("c", "a"),
        node("d", "c"),
    ]
    assert [kept.name for kept in read_only(nodes, ["c"])] == ["x", "y", "a", "c"]

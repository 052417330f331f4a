"""Nodes that nobody reads are left out, but arguments."""

from mpq_plugins.graph.node import ARGUMENT, Batch, Node
from mpq_tfmot.reader.unread import read_only


def node(name, *inputs, op="add"):
    return Node(name, op, inputs, (Batch(), 2))


def test_what_leads_to_an_output_stays_in_order_and_the_rest_goes():
    nodes = [
        node("x", op=ARGUMENT),
        node("y", op=ARGUMENT),
        node("a", "x"),
        node("b", "a"),
        node("c", "a"),
        node("d", "c"),
    ]
    assert [kept.name for kept in read_only(nodes, ["c"])] == ["x", "y", "a", "c"]

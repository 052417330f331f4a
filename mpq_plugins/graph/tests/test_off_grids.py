"""What hides elements from a maximum, a clamp or a function stays off grids, up to what ends it."""

import numpy as np
import pytest

from mpq_plugins import plugins
from mpq_plugins.graph.describing import as_records
from mpq_plugins.graph.node import ARGUMENT, CONSTANT, UNKNOWN, Batch, Graph, Node, Operand

SHAPE = (Batch(), 4, 3)
HIDING = np.array([0.0, 0.0, -1e9])
KEPT = HIDING == 0


def affine(name, reads, scale, offset, **attrs):
    return Node(name, "affine", (reads,), SHAPE, attrs={"scale": scale, "offset": offset, **attrs})


def chosen(**arguments):
    attrs = {"what": "where", "function": "where", "arguments": {"input": Operand(0), "condition": KEPT, **arguments}}
    return attrs


MASK = Node("mask", CONSTANT, (), (1, 1, 3), attrs={"value": HIDING.reshape(1, 1, 3)})
FAR = Node("mask", CONSTANT, (), (1, 1, 1), attrs={"value": np.full((1, 1, 1), -np.inf)})
SUM = Node("hidden", "add", ("x", "mask"), SHAPE)
TRUTHS = {"input": Operand(0), "condition": Operand(1), "other": -1e9}
by_computed = {"what": "where", "function": "choose", "arguments": TRUTHS}
WIDE = Node("mask", CONSTANT, (), (1, 4, 3), attrs={"value": np.full((1, 4, 3), 1e9)})
HIDDEN = {
    "a number": (affine("hidden", "x", 1.0, -1e9),),
    "a constant in the place of each": (Node("hidden", "clamp", ("x",), SHAPE, low=-1e9, high=-1e9),),
    "a difference from a constant": (
        WIDE,
        affine("less", "mask", -1.0, 0.0),
        Node("hidden", "add", ("x", "less"), SHAPE),
    ),
    "a constant beside it": (
        WIDE,
        Node("both", "concat", ("x", "mask"), (Batch(), 8, 3), attrs={"axis": 1}),
        Node("hidden", "reshape", ("both",), SHAPE),
    ),
    "a factor of truth values": (
        Node("over", UNKNOWN, ("x",), SHAPE, attrs={"what": "gt", "reason": ""}),
        affine("hides", "over", -1e9, 0.0),
        Node("hidden", "add", ("x", "hides"), SHAPE),
    ),
    "a choice by what is computed": (
        Node("over", UNKNOWN, ("x",), SHAPE, attrs={"what": "gt", "reason": ""}),
        Node("hidden", UNKNOWN, ("x", "over"), SHAPE, attrs=by_computed),
    ),
    "a sum with a constant": (MASK, SUM),
    "an offset of each column": (affine("hidden", "x", 1.0, HIDING, axis=2),),
    "a large number above": (affine("hidden", "x", 1.0, -HIDING, axis=2),),
    "a choice of a number": (Node("hidden", UNKNOWN, ("x",), SHAPE, attrs=chosen(fill=-1e9)),),
    "a choice of a constant": (FAR, Node("hidden", UNKNOWN, ("x", "mask"), SHAPE, attrs=chosen(other=Operand(1)))),
}
END = {
    "max_pool": Node("end", "max_pool", ("turned",), SHAPE),
    "clamp": Node("end", "clamp", ("turned",), SHAPE, low=0.0),
    "sigmoid": Node("end", "sigmoid", ("turned",), SHAPE),
}


def settled(*nodes, target="torch-x86"):
    last = Node("fc", "linear", ("end",), (Batch(), 4, 2), np.eye(2, 3))
    graph = Graph((Node("x", ARGUMENT, (), SHAPE, attrs={"index": 0}), *nodes, last), ("fc",), "NCHW")
    return as_records(graph, plugins.target(target))


@pytest.mark.parametrize("end", END)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_hides_elements_and_what_reads_it_lie_on_no_grid(hidden, end):
    turned = affine("turned", "hidden", -1.0, 0.0)
    behind = affine("behind", "end", 2.0, 0.0)
    graph = settled(*HIDDEN[hidden], turned, END[end], behind)
    assert {graph[name].op for name in ("hidden", "turned", "end")} == {UNKNOWN}
    assert graph["end"].attrs["was"] is END[end]
    assert (graph["behind"].op, graph["fc"].op) == ("affine", "linear")


def test_numbers_that_are_large_but_alike_are_no_mask():
    means = affine("turned", "x", 1.0, np.array([-20000.0, -21000.0, -20500.0]), axis=2)
    assert settled(means, END["clamp"])["turned"].op == "affine"

"""Poolings behind a border of numbers that lose to every element, read as poolings behind elements that they have."""

import numpy as np
import pytest

from mpq_plugins.graph.node import ARGUMENT, UNKNOWN, Batch, Graph, Node, Operand
from mpq_plugins.graph.padded_pools import with_borders


def padded(value, *sides, kernel=3, stride=2):
    given = {"input": Operand(0), "pads": ((0, 0), (0, 0), *sides), "value": value}
    rows = 5 + sum(sides[0])
    pool = {"kernel": (kernel, 1), "stride": (stride, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1)}
    nodes = (
        Node("x", ARGUMENT, (), (Batch(), 1, 5, 1), attrs={"index": 0}),
        Node("pad", UNKNOWN, ("x",), (Batch(), 1, rows, 1), attrs={"function": "pad", "arguments": given}),
        Node("pool", "max_pool", ("pad",), (Batch(), 1, (rows - kernel) // stride + 1, 1), attrs=pool),
    )
    return with_borders(Graph(nodes, ("pool",), "NCHW"))


@pytest.mark.parametrize("before", range(3))
@pytest.mark.parametrize("after", range(3))
def test_a_border_of_the_nearest_elements_gives_the_same_maxima(before, after):
    graph = padded(-np.inf, (before, after), (0, 0))
    assert before + after == 0 or "pad" in graph
    assert not any(node.op == UNKNOWN for node in graph.nodes) or before + after == 0
    x = np.array([3.0, -1.0, 2.0, -7.0, -4.0])
    bordered, lost = np.pad(x, (before, after), "edge"), np.pad(x, (before, after), constant_values=-np.inf)
    starts = range(0, len(bordered) - 2, 2)
    assert [bordered[s : s + 3].max() for s in starts] == [lost[s : s + 3].max() for s in starts]


@pytest.mark.parametrize("sides", [(3, 0), (0, 3)])
def test_a_window_of_the_border_alone_keeps_its_numbers(sides):
    assert padded(-np.inf, sides, (0, 0))["pad"].op == UNKNOWN


def test_small_numbers_are_padded_as_they_are():
    assert padded(-8.0, (1, 1), (0, 0))["pad"].op == UNKNOWN

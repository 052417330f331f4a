"""How many samples are measured at once."""

import pytest

from mpq_plugins.graph.node import Batch, Graph, Node
from mpq_plugins.rounding.moments.chunks import CHUNK
from mpq_plugins.search.chunk import samples_at_once, samples_in_sweep


def network(elements):
    nodes = (Node("x", "argument", (), (Batch(), elements)), Node("x__input", "input", ("x",), (Batch(), elements)))
    return Graph(nodes, ("x__input",), "NCHW")


@pytest.mark.parametrize(("elements", "samples"), [(1, CHUNK), (2**18, CHUNK), (2**18 + 1, 32), (2**22, 4), (2**30, 1)])
def test_a_chunk_halves_until_its_values_fit_the_memory(elements, samples):
    assert samples_at_once(network(elements), memory=2**30) == samples


def test_more_memory_takes_no_more_than_a_whole_chunk():
    assert samples_at_once(network(10), memory=2**50) == CHUNK


def test_a_sweep_holds_what_its_widest_op_reads_and_writes_and_no_more():
    wide = network(2**18)
    nodes = [*wide.nodes, *(Node(f"n{i}", "clamp", ("x__input",), (Batch(), 10)) for i in range(1000))]
    deep = Graph(tuple(nodes), ("n0",), "NCHW")
    assert samples_in_sweep(wide, memory=2**28) == samples_in_sweep(deep, memory=2**28) == 16
    assert samples_in_sweep(network(1), memory=2**28) == CHUNK

"""What a search and rounding are said to take, against sums over their arrays and the peak of real ones."""

import itertools
import tracemalloc

import numpy as np
import pytest

from mpq_plugins import Grid, plugins
from mpq_plugins.errors import TooLittleMemory
from mpq_plugins.graph.node import ARGUMENT, INPUT, Batch, Graph, Node
from mpq_plugins.graph.numpy_runner import NumpyRunner
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.rounding.moments.chunks import CHUNK, GRAIN
from mpq_plugins.search.chunk import MEMORY
from mpq_plugins.search.estimate import (
    check_memory,
    check_sweep_memory,
    kept_in_memory,
    samples_to_measure,
    samples_to_round,
    search_memory,
    sweep_memory,
    workers_to_round,
    workers_to_search,
)
from mpq_plugins.search.sweep import compensate


class Arrays(NumpyRunner):
    """NumPy in place of a framework, as far as dense layers go."""

    numpy = tensor = shared = staticmethod(np.asarray)
    to_precision = staticmethod(np.ndarray.astype)

    def precision_of(self, x):
        return str(x.dtype)

    def matmul(self, x, weight, bias):
        return x @ weight.T + (0 if bias is None else bias)


def linear(*sizes):
    """Dense layers from so many inputs to so many outputs, and so on."""
    rng = np.random.default_rng(0)
    nodes = [
        Node("x", ARGUMENT, (), (Batch(), sizes[0]), attrs={"index": 0}),
        Node("x__input", INPUT, ("x",), (Batch(), sizes[0])),
    ]
    for inputs, outputs in itertools.pairwise(sizes):
        name, weight = "fc" * (len(nodes) - 1), rng.normal(size=(outputs, inputs)).astype(np.float32)
        nodes.append(Node(name, "linear", (nodes[-1].name,), (Batch(), outputs), weight=weight, bias=np.zeros(outputs)))
    return Graph(tuple(nodes), (nodes[-1].name,), "NCHW")


def test_moments_grow_with_the_samples_until_a_matrix_of_all_inputs_is_less():
    graph = linear(4000, 10)
    few, more = (search_memory(graph, 1, total) for total in (100, 900))
    columns = 4 * 4000 * 800
    factor = 32 * 4000 * 800 + 24 * (900**2 - 100**2)
    assert more - few == columns + factor
    whole, also = (search_memory(graph, 1, total) for total in (1000, 10**6))
    assert whole == also
    assert whole > 8 * 4000**2


def test_a_search_that_does_not_fit_says_how_much_it_takes_and_what_to_do():
    with pytest.raises(
        TooLittleMemory, match=r"about 0\.\d+ GB and there are 0\.1 GB.*'fc\.weight' with its 4000 inputs"
    ):
        check_memory(linear(4000, 10), 1, 10**6, limit=10**8)
    check_memory(linear(4000, 10), 1, 10**6, limit=10**9)


@pytest.mark.parametrize(("sizes", "total"), [((150, 200, 10), 700), ((1600, 40, 20), 80)])
def test_rounding_takes_no_more_than_it_is_said_to_and_no_less_than_a_third(sizes, total):
    graph = linear(*sizes)
    sites = take_sites(graph)
    grids = {site.name: Grid.power_of_two(4, 2, site.signed) for site in sites.inventory}
    x = np.random.default_rng(1).normal(size=(total, sizes[0])).astype(np.float32)
    chunks = [(x[start : start + CHUNK],) for start in range(0, total, CHUNK)]
    tracemalloc.start()
    compensate(graph, sites.grid_of, grids, plugins.target("generic-po2"), Arrays(), chunks, progress=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= sweep_memory(graph, CHUNK, total) <= 3 * peak


def beside_wide_values(elements):
    """A small layer, and an op that writes many elements."""
    small = linear(64, 64)
    return Graph((*small.nodes, Node("wide", "clamp", ("x__input",), (Batch(), elements))), ("fc", "wide"), "NCHW")


@pytest.mark.parametrize(("limit", "measured", "rounded"), [(2e8, 16, 16), (4e8, 32, 32), (1e12, CHUNK, 32)])
def test_chunks_are_as_large_as_the_limit_allows(limit, measured, rounded):
    graph = beside_wide_values(2**18)
    assert samples_to_measure(graph, 64, int(limit)) == measured
    assert samples_to_round(graph, 64, int(limit)) == rounded
    assert search_memory(graph, measured, 64) <= limit
    assert sweep_memory(graph, rounded, 64, kept_in_memory(int(limit))) <= limit


def test_there_are_as_many_workers_as_the_limit_has_room_for_and_one_at_least():
    graph = beside_wide_values(2**18)
    searching = [search_memory(graph, 16, 64, workers) for workers in (1, 2, 3, 4)]
    assert searching == sorted(set(searching))
    assert [workers_to_search(graph, 3, 16, 64, limit) for limit in (1, *searching)] == [1, 1, 2, 3, 3]
    rounding = [sweep_memory(graph, 16, 64, kept_in_memory(4 * 10**8), workers) for workers in (1, 2, 3, 4)]
    room = [workers_to_round(graph, 4, 16, 64, limit) for limit in (1, 4 * 10**8, 10**12)]
    assert room == [1, sum(needed <= 4 * 10**8 for needed in rounding), 4]
    assert 1 < room[1] < 4


def test_more_positions_of_a_convolution_take_the_columns_that_are_held_of_them():
    shape = (Batch(), 4, 64, 64)
    layer = Node("conv", "conv2d", ("x__input",), shape, np.zeros((4, 4, 3, 3)), np.zeros(4), attrs={"groups": 1})
    nodes = Node("x", ARGUMENT, (), shape, attrs={"index": 0}), Node("x__input", INPUT, ("x",), shape), layer
    graph = Graph(nodes, ("conv",), "NCHW")
    few, more = (sweep_memory(graph, GRAIN, 4 * GRAIN, columns=2**exponent) for exponent in (14, 16))
    assert more - few == 24 * (2**16 - 2**14) // 4 * (36 + 4)


def test_a_limit_above_what_a_pass_may_hold_changes_no_chunk():
    graph = beside_wide_values(2**20)
    assert samples_to_measure(graph, 64, 2 * MEMORY) == samples_to_measure(graph, 64, 10**15) < CHUNK


def test_rounding_that_does_not_fit_says_so_before_it_begins():
    with pytest.raises(TooLittleMemory, match=r"rounding takes about .* 0\.1 GB.*'fc\.weight'.*\(memory_gb\)"):
        check_sweep_memory(linear(4000, 10), 1, 10**6, limit=10**8)
    check_sweep_memory(linear(4000, 10), 1, 10**3, limit=10**9)

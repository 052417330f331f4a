"""What a search is said to take, against sums over its arrays."""

import numpy as np
import pytest

from mpq_plugins.errors import TooLittleMemory
from mpq_plugins.graph.node import ARGUMENT, INPUT, Batch, Graph, Node
from mpq_plugins.search.estimate import check_memory, search_memory


def linear(inputs, outputs):
    return Graph(
        (
            Node("x", ARGUMENT, (), (Batch(), inputs)),
            Node("x__input", INPUT, ("x",), (Batch(), inputs)),
            Node("fc", "linear", ("x__input",), (Batch(), outputs), weight=np.zeros((outputs, inputs))),
        ),
        ("fc",),
        "NCHW",
    )


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

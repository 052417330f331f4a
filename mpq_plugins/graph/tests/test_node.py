import pytest

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import ARGUMENT, Batch, Graph, Node, merged, sample_shape

X = Node("x", ARGUMENT, (), (Batch(), 4), attrs={"index": 0})


def test_a_shape_for_one_sample_keeps_what_a_reshape_joined_with_the_batch():
    assert sample_shape((Batch(), 3, 8)) == (3, 8)
    assert sample_shape((Batch(49), 3)) == (49, 3)


def test_a_graph_refuses_names_that_are_repeated_unknown_or_computed_too_late():
    relu = Node("relu", "clamp", ("x",), X.shape, low=0.0)
    with pytest.raises(ModelError, match="repeated: x"):
        Graph((X, X), ("x",), "NCHW")
    with pytest.raises(ModelError, match="relu reads x before"):
        Graph((relu, X), ("relu",), "NCHW")
    with pytest.raises(ModelError, match="returns y"):
        Graph((X, relu), ("y",), "NCHW")


def test_merging_hands_the_readers_and_outputs_of_the_gone_node_over():
    a, b = (Node(name, "clamp", ("x",), X.shape) for name in ("a", "b"))
    c = Node("c", "add", ("a", "b"), X.shape)
    d = Node("d", "clamp", ("c",), X.shape)
    graph = merged(Graph((X, a, b, c, d), ("d",), "NCHW"), d, c)
    assert [node.name for node in graph.nodes] == ["x", "a", "b", "c"]
    assert graph.outputs == ("c",)
    assert [node.name for node in graph.readers("a")] == ["c"]


def test_what_enters_the_grids_is_a_site_of_the_name_of_its_source():
    assert Node("x__input", "input", ("x",)).site == "x"
    assert Node("conv__input", "clamp", ("x",)).site == "conv__input"

"""Masks of softmaxes: found whatever is between, and what they hide has no part in the codes."""

import math

import numpy as np
import pytest

from mpq_plugins import Grid, plugins
from mpq_plugins.graph.describing import as_records
from mpq_plugins.graph.integer_softmax import softmax_of
from mpq_plugins.graph.node import ARGUMENT, UNKNOWN, Batch, Graph, Node, Operand
from mpq_plugins.integers.kernels import compute
from mpq_plugins.integers.program import Tensor
from mpq_plugins.integers.steps import Softmax

SCORES = (Batch(), 2, 3, 3)
ABOVE = np.triu(np.ones((3, 3)), 1) == 1
HIDING = np.where(ABOVE, -100.0, 0.0)


def described(name, reads, shape, function, **arguments):
    attrs = {"what": function, "reason": "", "function": function, "arguments": arguments}
    return Node(name, "unknown", reads, shape, attrs=attrs)


def softmax(reads, shape):
    return described("softmax", (reads,), shape, "softmax", input=Operand(0), axis=len(shape) - 1)


def graph_of(*nodes):
    """The nodes between scores and values that the shares are multiplied with."""
    scores, values = (Node(name, "argument", (), SCORES, attrs={"index": i}) for i, name in enumerate("xy"))
    product = described("end", ("softmax", "y"), SCORES, "matmul", input=Operand(0), other=Operand(1))
    return Graph((scores, values, *nodes, product), ("end",), "NCHW")


def constant(value):
    return Node("c", "constant", (), (Batch(), *value.shape[1:]), attrs={"value": value})


ADDED = (constant(HIDING.reshape(1, 1, 3, 3)), Node("sum", "add", ("x", "c"), SCORES), softmax("sum", SCORES))
FILLED = (
    described("fill", ("x",), SCORES, "where", input=Operand(0), condition=~ABOVE, fill=-np.inf),
    Node("scaled", "affine", ("fill",), SCORES, attrs={"scale": 0.5, "offset": 1.0}),
    softmax("scaled", SCORES),
)
IN_WINDOWS = (
    constant(HIDING.reshape(1, 1, 3, 3)),
    Node("sum", "add", ("x", "c"), SCORES),
    Node("windows", "reshape", ("sum",), (Batch(2), 3, 3)),
    softmax("windows", (Batch(2), 3, 3)),
)


@pytest.mark.parametrize(("nodes", "scale"), [(ADDED, 1.0), (FILLED, 0.5), (IN_WINDOWS, 1.0)])
def test_a_mask_is_the_softmaxs_own(nodes, scale):
    graph = as_records(graph_of(*nodes), plugins.target("generic-po2"))
    (found,) = (node for node in graph.nodes if node.op == "softmax")
    assert found.inputs == ("x",)
    assert found.attrs["scale"] == scale
    assert np.array_equal(found.attrs["mask"] < 0, ABOVE.reshape(1, 1, 3, 3))
    assert not {"fill", "sum", "scaled"} & {node.name for node in graph.nodes}


def test_a_mask_along_the_last_axis_is_the_softmaxs_own():
    offset = np.array([0.0, 0.0, -1e9])
    hidden = Node("sum", "affine", ("x",), SCORES, attrs={"scale": 1.0, "offset": offset, "axis": 3})
    graph = as_records(graph_of(hidden, softmax("sum", SCORES)), plugins.target("generic-po2"))
    (found,) = (node for node in graph.nodes if node.op == "softmax")
    assert found.inputs == ("x",)
    assert np.array_equal(np.ravel(found.attrs["mask"]), offset)


def test_what_a_mask_adds_besides_is_added_on_grids():
    places = np.arange(9.0).reshape(1, 1, 3, 3)
    nodes = (constant(HIDING + places), *ADDED[1:])
    graph = as_records(graph_of(*nodes), plugins.target("generic-po2"))
    (found,) = (node for node in graph.nodes if node.op == "add")
    assert np.array_equal(graph[found.inputs[1]].attrs["value"], np.where(ABOVE, 0, places))


def test_a_row_hidden_as_a_whole_by_a_sum_is_as_without_it():
    graph = as_records(graph_of(constant(np.full((1, 1, 3, 3), -100.0)), *ADDED[1:]), plugins.target("generic-po2"))
    assert [node.attrs.get("mask") for node in graph.nodes if node.op == "softmax"] == [None]


def test_a_choice_by_a_constant_is_a_product_with_zeros_and_ones_and_a_sum():
    condition = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1]])
    chosen = described("end", ("x", "y"), SCORES, "where", input=Operand(0), other=Operand(1), condition=condition)
    arguments = [Node(name, "argument", (), SCORES, attrs={"index": i}) for i, name in enumerate("xy")]
    graph = as_records(Graph((*arguments, chosen), ("end",), "NCHW"), plugins.target("torch-x86"))
    assert [node.op for node in graph.nodes[2:]] == ["constant", "mul", "constant", "mul", "add", "reshape"]
    assert np.array_equal(graph.nodes[2].attrs["value"][0, 0], condition)


@pytest.mark.parametrize("bits", [2, 5, 8])
def test_hidden_codes_have_no_part_in_a_softmax_of_codes(bits):
    rng = np.random.default_rng(0)
    source, grid = Grid.power_of_two(bits, 1), Grid.power_of_two(bits, 0, signed=False)
    codes, hidden = rng.integers(source.low, source.high + 1, (40, 1, 9)), rng.random((1, 1, 9)) < 0.4
    law = softmax_of("shares", 9, 0.7, source, grid, hidden)
    step = Softmax("y", ("x",), 1, law.steps, "t", 0, law.steps)
    x = np.where(law.hidden, law.below, codes).astype(np.int32)
    found = compute(step, [x], Tensor("y", (1, 9), 9, False, 0), {"t": law.table}, "channels_last")[:, 0]
    shown = codes[:, 0, ~hidden[0, 0]]
    table = [math.floor(math.exp(-c * source.steps[0] * 0.7) * law.table[0] + 0.5) for c in range(2**bits)]
    for row, wanted in zip(found, shown, strict=True):
        powers = [table[max(wanted) - c] for c in wanted]
        parts = [math.floor(p * law.steps / sum(powers) + 0.5) for p in powers]
        assert row[~hidden[0, 0]].tolist() == parts
        assert not row[hidden[0, 0]].any()


def test_what_only_makes_a_mask_is_float_up_to_the_argument():
    nodes = (
        Node("x", ARGUMENT, (), (Batch(), 3, 3), attrs={"index": 0}),
        Node("m", ARGUMENT, (), (Batch(), 3), attrs={"index": 1}),
        Node("mask", "reshape", ("m",), (Batch(), 1, 3)),
        Node("both", "reshape", ("m",), (Batch(), 3)),
        Node("y", "softmax", ("x", "mask"), (Batch(), 3, 3), attrs={"axis": 2, "scale": 1.0, "float": True}),
    )
    graph = as_records(Graph(nodes, ("y", "both"), "NCHW"), None)
    assert [node.name for node in graph.nodes if node.op == UNKNOWN] == ["mask", "y"]

"""Functions that a model writes by hand become their records, and what only looks like one does not."""

import pytest

from mpq_plugins import plugins
from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.logic import WHOLE
from mpq_plugins.graph.node import ARGUMENT, Batch, Graph, Node, Operand
from mpq_plugins.graph.recognizing import recognized

X86, LITERT = plugins.target("torch-x86"), plugins.target("litert-po2")
SHAPE = (Batch(), 4)


def times(factor):
    return AFFINE, {"scale": factor, "offset": 0.0}


def plus(number):
    return AFFINE, {"scale": 1.0, "offset": number}


def graph(*steps, outputs=("y",)):
    """Of steps (name, op or (op, attrs), inputs); relu6 and relu are clamps."""
    nodes = [Node("x", ARGUMENT, (), SHAPE, attrs={"index": 0})]
    for name, op, *inputs in steps:
        op, attrs = op if isinstance(op, tuple) else (op, {})
        bounds = {"relu6": (0.0, 6.0), "relu": (0.0, None), "at_100": (None, 100.0)}.get(op)
        low, high = bounds or (None, None)
        nodes.append(Node(name, "clamp" if bounds else op, tuple(inputs), SHAPE, low=low, high=high, attrs=attrs))
    return Graph(tuple(nodes), outputs, "NCHW")


HARD = [("a", plus(3.0), "x"), ("b", "relu6", "a")]
CUBE = [("s", "mul", "x", "x"), ("c", "mul", "s", "x"), ("d", times(0.044715), "c"), ("e", "add", "x", "d")]
BY_HAND = {
    "hardsigmoid, divided": ("hardsigmoid", [*HARD, ("y", times(1 / 6), "b")]),
    "hardsigmoid, in eight digits": ("hardsigmoid", [*HARD, ("y", times(0.16666667), "b")]),
    "hardsigmoid, divided first": ("hardsigmoid", [
        ("a", times(1 / 6), "x"), ("b", plus(0.5), "a"), ("c", "relu", "b"), ("d", times(-1.0), "c"),
        ("e", plus(1.0), "d"), ("f", "relu", "e"), ("g", times(-1.0), "f"), ("y", plus(1.0), "g"),
    ]),
    "hardswish, divided last": ("hardswish", [*HARD, ("c", "mul", "x", "b"), ("y", times(1 / 6), "c")]),
    "hardswish, divided before": ("hardswish", [*HARD, ("c", times(1 / 6), "b"), ("y", "mul", "c", "x")]),
    "hardswish of a record": ("hardswish", [("a", "hardsigmoid", "x"), ("y", "mul", "x", "a")]),
    "SiLU": ("silu", [("a", "sigmoid", "x"), ("y", "mul", "x", "a")]),
    "SiLU by tanh": ("silu", [
        ("a", times(0.5), "x"), ("b", "tanh", "a"), ("c", plus(1.0), "b"), ("y", "mul", "c", "a"),
    ]),
    "GELU by tanh": ("gelu", [
        *CUBE, ("f", times(0.7978845608), "e"), ("g", "tanh", "f"), ("h", plus(1.0), "g"), ("i", times(0.5), "x"),
        ("y", "mul", "i", "h"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_a_function_written_by_hand_is_its_record(name):
    word, steps = BY_HAND[name]
    found = recognized(graph(*steps), LITERT)
    assert [(node.name, node.op, node.inputs) for node in found.nodes[1:]] == [("y", word, ("x",))]
    assert set(found["y"].attrs["fused"]) == {step[0] for step in steps} - {"y"}


def test_the_approximate_gelu_is_told_from_the_exact_one():
    found = recognized(graph(*BY_HAND["GELU by tanh"][1]), LITERT)
    assert found["y"].attrs["approximate"] is True


def test_a_function_inside_a_larger_expression_is_found_there():
    found = recognized(graph(*HARD, ("c", times(1 / 6), "b"), ("y", plus(2.0), "c")), LITERT)
    assert [(node.name, node.op) for node in found.nodes[1:]] == [("c", "hardsigmoid"), ("y", AFFINE)]


def test_a_gate_of_another_tensor_is_a_hardsigmoid_and_a_product():
    steps = [("g", "tanh", "x"), ("a", plus(3.0), "g"), *HARD[1:], ("c", times(1 / 6), "b"), ("y", "mul", "x", "c")]
    found = recognized(graph(*steps, outputs=("y", "g")), LITERT)
    assert [(node.name, node.op) for node in found.nodes[1:]] == [("g", "tanh"), ("c", "hardsigmoid"), ("y", "mul")]


@pytest.mark.parametrize("inner", ["a", "b"])
def test_a_function_of_which_somebody_reads_a_part_is_left(inner):
    plain = graph(*HARD, ("y", times(1 / 6), "b"), outputs=("y", inner))
    assert recognized(plain, LITERT).nodes == plain.nodes


@pytest.mark.parametrize(
    "steps",
    [
        [("a", plus(3.0), "x"), ("b", "relu6", "a"), ("y", times(1 / 5), "b")],
        [("a", times(1.702), "x"), ("b", "sigmoid", "a"), ("y", "mul", "x", "b")],
        [("a", "at_100", "x"), ("b", "sigmoid", "a"), ("y", "mul", "a", "b")],
    ],
    ids=["another slope", "the quick GELU", "a SiLU that ends at 100"],
)
def test_another_function_is_not_taken_for_a_record(steps):
    found = recognized(graph(*steps), LITERT)
    assert found["y"].op in ("mul", AFFINE) or found["y"].inputs != ("x",)


def test_a_function_that_the_target_has_no_kernel_of_is_left_as_it_is_written():
    steps = [("a", times(0.2), "x"), ("b", plus(0.5), "a"), ("c", "relu", "b"), ("y", times(-1.0), "c")]
    plain = graph(*steps)
    assert recognized(plain, X86).nodes == plain.nodes
    assert recognized(graph(*BY_HAND["GELU by tanh"][1]), X86)["y"].op == "mul"


def test_tensors_that_broadcast_are_no_function_of_one_element():
    nodes = graph(("a", "sigmoid", "x"), ("y", "mul", "x", "a")).nodes
    wide = [*nodes[:-1], Node("y", "mul", ("x", "a"), (Batch(), 3, 4))]
    assert recognized(Graph(tuple(wide), ("y",), "NCHW"), LITERT)["y"].op == "mul"


def told(word, **arguments):
    """A node that a reader only describes."""
    return "unknown", {"function": word, "arguments": arguments, "reason": "none"}


X, Y = Operand(0), Operand(1)
MASK = ("m", ("unknown", {**told("greater", input=X, other=0.0)[1], "reason": WHOLE}), "x")


@pytest.mark.parametrize(
    ("steps", "op", "low"),
    [
        ([MASK, ("y", "mul", "x", "m")], "clamp", 0.0),
        ([MASK, ("a", times(0.25), "x"), ("y", told("choose", condition=X, input=Y, other=Operand(2)), "m", "x", "a")],
         "leaky_relu", None),
        ([MASK, ("y", told("choose", condition=X, input=Y, other=0.5), "m", "x")], "piecewise", None),
        ([MASK, ("a", told("cast", input=X, to="float"), "m"), ("y", "sigmoid", "a")], "piecewise", None),
        ([("a", told("greater", input=X, other=0.01), "x"), ("y", "mul", "x", "a")], "piecewise", None),
    ],
)  # fmt: skip
def test_a_function_with_a_comparison_is_a_clamp_a_leaky_relu_or_a_table(steps, op, low):
    found = recognized(graph(*steps), LITERT)["y"]
    assert (found.op, found.inputs, found.low) == (op, ("x",), low)


def test_a_comparison_that_float_parts_read_or_the_model_returns_is_left():
    masked = graph(MASK, ("y", told("choose", condition=X, input=Y, other=0.5), "m", "x"))
    assert recognized(masked, X86).nodes == masked.nodes
    returned = graph(MASK, ("y", "mul", "x", "m"), outputs=("y", "m"))
    assert recognized(returned, LITERT).nodes == returned.nodes

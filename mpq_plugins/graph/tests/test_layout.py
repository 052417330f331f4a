"""A graph in the other layout: which axes move, where transposes stand, and what keeps its layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpq_plugins.graph.layout import to_layout
from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, FLOAT, Batch, Graph, Layout, Node, Shape

PLAIN = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}


def channels_last(*nodes: Node, outputs: tuple[str, ...] = ()) -> Graph:
    """An image [8, 9, 3], a 1 x 1 convolution "conv" to 4 channels, and these nodes."""
    first: Shape = (Batch(), 8, 9, 3)
    image = Node("x", ARGUMENT, (), first, attrs={"index": 0})
    entry = Node("x__input", "input", ("x",), first)
    conv = Node("conv", "conv2d", ("x__input",), (Batch(), 8, 9, 4), np.ones((4, 3, 1, 1)), attrs=PLAIN)
    return Graph((image, entry, conv, *nodes), outputs or (nodes[-1].name,), "NHWC")


def node(op: str, shape: tuple[int, ...], name: str = "y", reads: tuple[str, ...] = ("conv",), **attrs: Any) -> Node:
    return Node(name, op, reads, (Batch(), *shape), attrs=attrs)


def test_a_convolution_reads_and_gives_the_new_layout_and_the_model_keeps_the_old_one() -> None:
    converted = to_layout(channels_last(node("clamp", (8, 9, 4))), "NCHW")
    found = [(n.name, n.op, n.inputs, n.sample_shape) for n in converted.graph.nodes]
    assert found == [
        ("x", ARGUMENT, (), (8, 9, 3)),
        ("x__input", "input", ("x",), (8, 9, 3)),
        ("x__input__nchw", "transpose", ("x__input",), (3, 8, 9)),
        ("conv", "conv2d", ("x__input__nchw",), (4, 8, 9)),
        ("y", "clamp", ("conv",), (4, 8, 9)),
        ("y__nhwc", "transpose", ("y",), (8, 9, 4)),
    ]
    assert converted.graph["x__input__nchw"].attrs["order"] == (0, 3, 1, 2)
    assert converted.graph["y__nhwc"].attrs["order"] == (0, 2, 3, 1)
    assert converted.graph.outputs == ("y__nhwc",)
    assert dict(converted.orders) == {"conv": (0, 3, 1, 2), "y": (0, 3, 1, 2)}
    assert converted.copies == {"x__input__nchw": "x__input", "y__nhwc": "y"}


@pytest.mark.parametrize(
    ("made", "attr", "expected"),
    [
        (node("concat", (8, 9, 8), reads=("conv", "conv"), axis=3), "axis", 1),
        (node("concat", (16, 9, 4), reads=("conv", "conv"), axis=1), "axis", 2),
        (node("pad", (9, 9, 6), pads=((0, 0), (1, 0), (0, 0), (0, 2))), "pads", ((0, 0), (0, 2), (1, 0), (0, 0))),
        (node("upsample", (16, 27, 4), times=(1, 2, 3, 1)), "times", (1, 1, 2, 3)),
        (node("subsample", (4, 3, 4), steps=(1, 2, 3, 1)), "steps", (1, 1, 2, 3)),
        (node("nearest", (2, 9, 4), sources=(None, (0, 4), None, None)), "sources", (None, None, (0, 4), None)),
        (node("global_avg_pool", (1, 1, 4), axes=(1, 2), keepdims=True), "axes", (2, 3)),
        (node("global_avg_pool", (4,), axes=(1, 2), keepdims=False), "axes", (2, 3)),
        (node("global_avg_pool", (8, 9), axes=(3,), keepdims=False), "axes", (1,)),
    ],
    ids=str,
)
def test_attrs_that_speak_of_axes_speak_of_the_same_ones(made: Node, attr: str, expected: object) -> None:
    converted = to_layout(channels_last(made), "NCHW").graph
    assert converted["y"].attrs[attr] == expected


def test_a_mean_that_loses_axes_gives_the_layout_in_which_the_others_lie() -> None:
    converted = to_layout(channels_last(node("global_avg_pool", (9, 4), axes=(1,), keepdims=False)), "NCHW")
    assert converted.graph["y"].sample_shape == (4, 9)  # the signal that is left, channels first
    assert converted.orders["y"] == (0, 2, 1)
    gone = to_layout(channels_last(node("global_avg_pool", (4,), axes=(1, 2), keepdims=False)), "NCHW")
    assert "y" not in gone.orders
    assert gone.graph.outputs == ("y",)


@pytest.mark.parametrize(
    "made",
    [
        node("reshape", (288,)),
        node("transpose", (9, 8, 4), order=(0, 2, 1, 3)),
        Node("y", "linear", ("conv",), (Batch(), 8, 9, 2), np.ones((2, 4))),
        Node("y", FLOAT, ("conv",), (Batch(), 8, 9, 4), attrs={"what": "Lambda"}),
    ],
    ids=lambda made: made.op,
)
def test_what_depends_on_the_order_of_axes_reads_the_old_one(made: Node) -> None:
    converted = to_layout(channels_last(made), "NCHW")
    assert converted.graph["y"].inputs == ("conv__nhwc",)
    assert converted.graph["y"].shape == made.shape
    assert "y" not in converted.orders


def test_a_tensor_is_transposed_once_for_all_that_read_it() -> None:
    readers = (node("reshape", (288,), "a"), node("reshape", (72, 4), "b"), node("reshape", (4, 72), "c"))
    converted = to_layout(channels_last(*readers, outputs=("a", "b", "c")), "NCHW")
    assert [n.name for n in converted.graph.nodes if n.op == "transpose"] == ["x__input__nchw", "conv__nhwc"]


def test_float_parts_that_are_known_move_too_by_transposes_that_are_float() -> None:
    inner = Node("y", "conv2d", ("conv",), (Batch(), 8, 9, 2), np.ones((2, 4, 1, 1)), attrs=PLAIN)
    unknown = Node("f", FLOAT, ("conv",), (Batch(), 8, 9, 4), attrs={"what": "Lambda"})
    known = Node("y", FLOAT, ("f",), inner.shape, attrs={"what": "conv2d", "was": inner})
    norm = Node("n", BATCH_NORM, ("y",), (Batch(), 8, 9, 2), attrs={"axis": 3})
    last = Node("n", FLOAT, ("y",), norm.shape, attrs={"what": "batch_norm", "was": norm})
    converted = to_layout(channels_last(unknown, known, last), "NCHW").graph
    assert converted["y"].inputs == converted["y"].attrs["was"].inputs == ("f__nchw",)
    assert converted["f__nchw"].op == FLOAT
    assert converted["f__nchw"].attrs["was"].attrs["order"] == (0, 3, 1, 2)
    assert converted["n"].attrs["was"].attrs["axis"] == 1
    assert converted.outputs == ("n__nhwc",)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_there_and_back_again_is_the_same_but_for_the_transposes(layout: Layout) -> None:
    graph = channels_last(node("max_pool", (4, 4, 4), kernel=(2, 2), stride=(2, 2), padding=((0, 0),) * 2))
    back = to_layout(to_layout(graph, layout).graph, "NHWC").graph
    assert back["y"].shape == graph["y"].shape
    assert back["conv"].shape == graph["conv"].shape
    assert [n.name for n in back.nodes if n.op not in ("transpose",)] == [n.name for n in graph.nodes]

"""A graph in the other layout: what every attribute becomes, and where a transpose is put, or none."""

import numpy as np
import pytest

from mpq_plugins.builtin.litert import litert
from mpq_plugins.graph.layout import laid_out, quantized_in_layout, to_layout
from mpq_plugins.graph.node import ARGUMENT, FLOAT, INPUT, Batch, Graph, Node
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runtimes.litert import XNNPACK
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.grid import Grid

N = Batch()
PLAIN = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}


def graph_of(*nodes, outputs=None):
    first = Node("x", ARGUMENT, (), (N, 3, 8, 6), attrs={"index": 0})
    whole = (first, Node("x__input", INPUT, ("x",), first.shape), *nodes)
    return Graph(whole, outputs or (nodes[-1].name,), "NCHW")


def conv(name="conv", source="x__input", channels=4, inputs=3, shape=(8, 6)):
    return Node(name, "conv2d", (source,), (N, channels, *shape), np.ones((channels, inputs, 1, 1)), attrs=PLAIN)


def added(graph):
    """The transposes that the pass put in."""
    return [node.name for node in graph.nodes if "__axes" in node.name]


def test_images_go_channels_last_from_the_argument_to_the_result():
    graph = to_layout(graph_of(conv()), "NHWC")
    assert graph.layout == "NHWC"
    assert [node.shape for node in graph.nodes] == [(N, 8, 6, 3), (N, 8, 6, 3), (N, 8, 6, 4)]
    assert added(graph) == []


def test_ends_that_are_kept_are_transposed_inside_on_the_codes():
    graph = to_layout(graph_of(conv()), "NHWC")
    kept = laid_out(graph_of(conv()), "NHWC", keep_ends=True).graph
    assert graph["conv"].shape == kept["conv"].shape
    assert [(node.name, node.shape) for node in kept.arguments] == [("x", (N, 3, 8, 6))]
    assert added(kept) == ["x__input__axes0231", "conv__axes0123"]
    assert kept["x__input__axes0231"].attrs["order"] == (0, 2, 3, 1)
    assert kept.outputs == ("conv__axes0123",)
    assert kept["conv__axes0123"].attrs["order"] == (0, 3, 1, 2)


@pytest.mark.parametrize(
    ("op", "attrs", "shape", "wanted"),
    [
        ("concat", {"axis": 1}, (N, 4, 8, 6), {"axis": 3}),
        ("concat", {"axis": 3}, (N, 4, 8, 6), {"axis": 2}),
        ("pad", {"pads": ((0, 0), (1, 2), (3, 4), (5, 6))}, (N, 7, 15, 17),
         {"pads": ((0, 0), (3, 4), (5, 6), (1, 2))}),
        (
            "slice",
            {"starts": (0, 1, 0, 0), "stops": (None, 3, None, None), "steps": (1, 1, 2, 4)},
            (N, 4, 4, 2),
            {"starts": (0, 0, 0, 1), "stops": (None, None, None, 3), "steps": (1, 2, 4, 1)},
        ),
        ("upsample", {"times": (1, 1, 2, 3)}, (N, 4, 16, 18), {"times": (1, 2, 3, 1)}),
        ("global_avg_pool", {"axes": (2, 3), "keepdims": True}, (N, 4, 1, 1), {"axes": (1, 2), "keepdims": True}),
    ],
)  # fmt: skip
def test_axes_pads_steps_and_times_follow_the_layout(op, attrs, shape, wanted):
    node = Node("op", op, ("conv",), shape, attrs=attrs)
    graph = to_layout(graph_of(conv(), node), "NHWC")
    assert graph["op"].attrs == wanted
    assert graph["op"].shape == (shape[0], *shape[2:], shape[1])
    assert added(graph) == []


def test_a_mean_without_its_axes_leaves_features_that_lie_alike_in_both():
    node = Node("mean", "global_avg_pool", ("conv",), (N, 4), attrs={"axes": (2, 3), "keepdims": False})
    graph = to_layout(graph_of(conv(), node), "NHWC")
    assert (graph["mean"].attrs["axes"], graph["mean"].shape) == ((1, 2), (N, 4))


def test_a_linear_on_flattened_images_gets_its_columns_in_the_order_of_rows_columns_channels():
    flat = Node("flat", "reshape", ("conv",), (N, 4 * 8 * 6))
    weight = np.random.default_rng(0).normal(size=(5, 4 * 8 * 6))
    relu = Node("relu", "clamp", ("flat",), flat.shape, low=0.0)
    graph = to_layout(graph_of(conv(), flat, relu, Node("fc", "linear", ("relu",), (N, 5), weight)), "NHWC")
    assert added(graph) == []
    image = np.random.default_rng(1).normal(size=(4, 8, 6))
    np.testing.assert_allclose(
        graph["fc"].weight @ image.transpose(1, 2, 0).ravel(), weight @ image.ravel(), rtol=1e-12
    )


def test_flattened_images_that_others_read_too_are_transposed_before():
    flat = Node("flat", "reshape", ("conv",), (N, 4 * 8 * 6))
    fc = Node("fc", "linear", ("flat",), (N, 5), np.ones((5, 4 * 8 * 6)))
    graph = to_layout(graph_of(conv(), flat, fc, outputs=("fc", "flat")), "NHWC")
    assert added(graph) == ["conv__axes0123"]
    assert graph["flat"].inputs == ("conv__axes0123",)


@pytest.mark.parametrize("channels", [1, 4])
def test_a_flatten_that_moves_nothing_needs_no_transpose(channels):
    shape = (1, 1) if channels > 1 else (8, 6)
    flat = Node("flat", "reshape", ("conv",), (N, channels * shape[0] * shape[1]))
    assert added(to_layout(graph_of(conv(channels=channels, shape=shape), flat), "NHWC")) == []


def test_patches_become_tokens_without_a_transpose():
    flat = Node("flat", "reshape", ("conv",), (N, 4, 48))
    tokens = Node("tokens", "transpose", ("flat",), (N, 48, 4), attrs={"order": (0, 2, 1)})
    graph = to_layout(graph_of(conv(), flat, tokens), "NHWC")
    assert (graph["flat"].shape, graph["tokens"].shape) == ((N, 48, 4), (N, 48, 4))
    assert graph["tokens"].attrs["order"] == (0, 1, 2)
    assert added(graph) == []


def test_a_linear_on_the_columns_of_an_image_gets_them_last_again():
    fc = Node("fc", "linear", ("conv",), (N, 4, 8, 5), np.ones((5, 6)))
    graph = to_layout(graph_of(conv(), fc), "NHWC")
    assert graph["fc"].inputs == ("conv__axes0123",)
    assert graph["fc"].shape == (N, 4, 8, 5)


def test_a_float_end_follows_along_its_axis_and_what_is_not_known_gets_its_own_layout():
    soft = Node(
        "soft",
        FLOAT,
        ("conv",),
        (N, 4, 8, 6),
        attrs={"what": "softmax", "function": "softmax", "arguments": {"axis": -3}},
    )
    odd = Node("odd", FLOAT, ("soft",), (N, 4, 8, 6), attrs={"what": "odd", "arguments": {"eps": 1.0}})
    graph = to_layout(graph_of(conv(), soft, odd), "NHWC")
    assert graph["soft"].attrs["arguments"] == {"axis": 3}
    assert graph["odd"].inputs == ("soft__axes0123",)
    moved = graph["soft__axes0123"]
    assert (moved.op, moved.attrs["was"].attrs["order"]) == (FLOAT, (0, 3, 1, 2))


def test_a_transpose_has_the_grid_of_the_site_that_it_moves():
    fc = Node("fc", "linear", ("conv",), (N, 4, 8, 5), np.ones((5, 6)))
    graph = graph_of(conv(), fc)
    sites = take_sites(graph)
    grids = {site.name: Grid.power_of_two(8, 3) for site in sites.inventory}
    quantized = QuantizedGraph.of(graph, sites, grids, litert("t", XNNPACK, True, (8,)))
    laid, orders = quantized_in_layout(quantized, "NHWC")
    assert laid.grid_of["conv__axes0123"] == "conv"
    assert orders["conv"].of(np.zeros((2, 4, 8, 6))).shape == (2, 8, 6, 4)
    assert to_layout(laid.graph, "NCHW")["conv"].shape == (N, 4, 8, 6)

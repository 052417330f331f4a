"""The work that graphs make a device do; graphs made by hand, and what each node of them is expected to cost."""

import numpy as np
import pytest

from mpq_plugins.graph.float_parts import settle_float_parts
from mpq_plugins.graph.fusing import fuse_clamps
from mpq_plugins.graph.node import ARGUMENT, UNKNOWN, Batch, Graph, Node
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.graph.workloads import model_work
from mpq_plugins.hardware.workload import Workload


def work_of(*nodes, layout="NCHW", per_channel=(), batch=1):
    graph = fuse_clamps(settle_float_parts(Graph(nodes, (nodes[-1].name,), layout)))
    return model_work(graph, take_sites(graph), per_channel, batch)


def argument(*shape):
    return Node("x", ARGUMENT, (), (Batch(), *shape), attrs={"index": 0})


def conv(source, shape, weight, padding, stride=(1, 1), name="conv", groups=1, **fields):
    attrs = {"stride": stride, "padding": padding, "dilation": (1, 1), "groups": groups}
    return Node(name, fields.pop("op", "conv2d"), (source,), (Batch(), *shape), np.ones(weight), attrs=attrs, **fields)


@pytest.mark.parametrize(
    ("layout", "inside", "outside"), [("NCHW", (3, 9, 8), (4, 9, 8)), ("NHWC", (9, 8, 3), (9, 8, 4))]
)
def test_a_layer_is_the_same_work_in_both_layouts(layout, inside, outside):
    nodes = argument(*inside), conv("x", outside, (4, 3, 3, 3), ((1, 1), (1, 1)))
    work = work_of(*nodes, layout=layout, per_channel={"conv.weight"}, batch=2)
    expected = Workload(
        "conv2d", ((3, 9, 8),), (4, 9, 8), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), per_channel=True, batch=2
    )
    assert work.weights == {"conv.weight": (expected,)}


@pytest.mark.parametrize(
    ("padding", "stride", "expected"),
    [
        (((0, 0), (0, 0)), (1, 1), (0, 0)),
        (((1, 1), (0, 0)), (1, 1), (1, 0)),
        (((0, 1), (0, 1)), (2, 2), "same"),  # of 8 by 8, the odd one behind
        (((2, 0), (0, 0)), (1, 1), ((2, 0), (0, 0))),
    ],
)
def test_padding_is_a_number_an_axis_or_same_or_both_sides(padding, stride, expected):
    sizes = tuple((8 + sum(sides) - 3) // s + 1 for sides, s in zip(padding, stride, strict=True))
    work = work_of(argument(8, 8, 2), conv("x", (*sizes, 4), (4, 2, 3, 3), padding, stride), layout="NHWC")
    assert work.weights["conv.weight"][0].padding == expected


@pytest.mark.parametrize(
    ("padding", "expected"),
    [(((1, 1), (1, 0)), ((1, 1), (("output_padding", (0, 1)),))), (((0, 1), (0, 1)), ("same", ()))],
)
def test_a_transposed_convolution_has_torchs_weight_and_output_padding_where_it_can(padding, expected):
    sizes = tuple(3 * 2 + 3 - sum(sides) for sides in padding)
    node = conv("x", (2, *sizes), (2, 3, 3, 3), padding, (2, 2), op="conv_transpose2d")
    (made,) = work_of(argument(3, 4, 4), node).weights["conv.weight"]
    assert (made.weight, made.padding, made.options) == ((3, 2, 3, 3), *expected)


def test_a_clamp_of_a_layer_costs_a_clip_at_every_width_and_one_by_itself_is_work_of_its_own():
    clamps = [Node(f"clamp{i}", "clamp", (name,), (Batch(), 4), low=0.0, high=h) for i, name, h in
              ((0, "fc", 6.0), (1, "fc2", None), (2, "fc2", 6.0))]  # fmt: skip
    fc = [Node(name, "linear", (source,), (Batch(), 4), np.eye(4)) for name, source in (("fc", "x"), ("fc2", "clamp0"))]
    nodes = argument(4), fc[0], clamps[0], fc[1], *clamps[1:], Node("sum", "add", ("clamp1", "clamp2"), (Batch(), 4))
    work = work_of(*nodes)
    clips = {site: w.option("own") for site, row in work.activations.items() for w in row if w.op == "clip"}
    assert clips == {"x": False, "fc": True, "fc2": False, "sum": False}
    assert [(w.op, w.option("high")) for w in work.activations["fc2"]] == [
        ("clip", None),
        ("relu", None),
        ("clamp", 6.0),
    ]


def test_a_layer_that_is_called_twice_is_listed_twice():
    fc = [Node(name, "linear", (source,), (Batch(), 4), np.eye(4), layer=layer)
          for name, source, layer in (("fc", "x", None), ("fc__call1", "fc", "fc"))]  # fmt: skip
    assert len(work_of(argument(4), *fc).weights["fc.weight"]) == 2


def test_a_sample_that_is_cut_into_windows_does_the_work_of_each():
    cut = Node("cut", "reshape", ("x",), (Batch(4), 2))
    work = work_of(argument(8), cut, Node("fc", "linear", ("cut",), (Batch(4), 3), np.ones((3, 2))))
    assert work.weights["fc.weight"] == (Workload("linear", ((2,),), (3,), (3, 2)),) * 4


def test_other_ops_have_their_geometry_as_options_and_the_end_is_dequantized():
    attrs = {"kernel": (2,), "stride": (2,), "padding": ((0, 0),), "dilation": (1,), "modules": ("m",)}
    nodes = (
        argument(8, 2),
        Node("pool", "max_pool", ("x",), (Batch(), 4, 2), attrs=attrs),
        Node("fc", "linear", ("pool",), (Batch(), 4, 3), np.ones((3, 2))),
        Node("odd", UNKNOWN, ("fc",), (Batch(), 4, 3), attrs={"what": "softmax", "reason": "no kernel"}),
    )
    work = work_of(*nodes, layout="NHWC")
    geometry = tuple((name, attrs[name]) for name in ("kernel", "stride", "padding", "dilation"))
    assert work.activations["pool"] == (Workload("max_pool", ((8, 2),), (4, 2), options=geometry),)
    assert [(w.op, w.output) for w in work.others] == [("dequantize", (4, 3)), ("float", (4, 3))]
    assert work.others[1].option("what") == "softmax"

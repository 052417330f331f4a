"""What a graph becomes in integers, and what is refused with its names; graphs made by hand."""

import numpy as np
import pytest

from mpq_plugins import Grid, plugins
from mpq_plugins.errors import GridError, UnsupportedOp
from mpq_plugins.graph.float_parts import settle_float_parts
from mpq_plugins.graph.node import ARGUMENT, CONSTANT, INPUT_SUFFIX, UNKNOWN, Batch, Graph, Node
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.integers import run
from mpq_plugins.integers.from_graph import program_of
from mpq_plugins.integers.steps import Constant, Shift

STEP = Grid.power_of_two(8, 3)
"""Codes -128 .. 127 of step 1/16."""
WEIGHT = Grid.power_of_two(8, 3)


def argument(*shape, name="x"):
    return Node(name, ARGUMENT, (), (Batch(), *shape), attrs={"index": 0})


def graph_of(*nodes, outputs=None, keep_float=()):
    return settle_float_parts(Graph(nodes, outputs or (nodes[-1].name,), "NCHW"), keep_float)


def quantized(graph, target="generic-po2", **grids):
    sites = take_sites(graph)
    all_grids = {site.name: WEIGHT if site.kind == "weight" else STEP for site in sites.inventory} | grids
    return QuantizedGraph.of(graph, sites, all_grids, plugins.target(target))


def linear(name, source, **fields):
    return Node(name, "linear", (source,), (Batch(), 2), np.eye(2), **fields)


def test_a_clamp_is_part_of_the_step_that_it_follows():
    program = program_of(quantized(graph_of(argument(2), linear("fc", "x", low=0.0, high=2.0))), "m", "none")
    assert [step.output for step in program.steps] == ["fc"]
    codes = np.array([[-128, 127], [20, 33]])
    assert run(program, codes)["fc"].tolist() == [[0, 32], [20, 32]]


def test_calls_of_one_layer_share_its_weight_and_have_biases_of_their_own():
    nodes = (
        argument(2),
        linear("fc", "x", bias=np.ones(2)),
        linear("fc__call1", "fc", bias=np.ones(2), layer="fc"),
    )
    program = program_of(quantized(graph_of(*nodes)), "m", "none")
    assert [weight.name for weight in program.weights] == ["fc.weight"]
    assert [bias.name for bias in program.biases] == ["fc.bias", "fc__call1.bias"]
    assert run(program, np.array([[3, -5]]))[program.outputs[0]].tolist() == [[35, 27]]


def test_a_constant_is_a_step_of_its_codes():
    constant = Node("k", CONSTANT, (), (Batch(), 2), attrs={"value": np.array([[0.5, -9.0]], np.float32)})
    nodes = (argument(2), linear("fc", "x"), constant, Node("sum", "add", ("fc", "k"), (Batch(), 2)))
    program = program_of(quantized(graph_of(*nodes)), "m", "none")
    assert [step.output for step in program.steps if isinstance(step, Constant)] == ["k"]
    assert run(program, np.array([[1, 1], [0, 0]]))["sum"].tolist() == [[9, -127], [8, -128]]


@pytest.mark.parametrize(("other", "rounding"), [("x", "half_away"), ("k", "half_even")])
def test_qnnpack_rounds_a_sum_with_a_constant_as_one_that_is_repeated(other, rounding):
    constant = Node("k", CONSTANT, (), (Batch(), 2), attrs={"value": np.zeros((1, 2), np.float32)})
    nodes = (argument(2), linear("fc", "x"), constant, Node("sum", "add", ("fc", other), (Batch(), 2)))
    coarse = Grid.power_of_two(8, 4)
    program = program_of(quantized(graph_of(*nodes), "torch-qnnpack", sum=coarse), "m", "none")
    (shift,) = [stage for stage in program.steps[-1].stages if isinstance(stage, Shift)]
    assert shift == Shift((1,), rounding)


def pooled(target, counts_padding):
    attrs = {"kernel": (2,), "stride": (2,), "padding": ((1, 1),), "counts_padding": counts_padding}
    conv = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}
    nodes = (
        argument(1, 4),
        Node("conv", "conv1d", ("x",), (Batch(), 1, 4), np.ones((1, 1, 1)), low=0.0, attrs=conv),
        Node("pool", "avg_pool", ("conv",), (Batch(), 1, 3), attrs=attrs),
    )
    graph = graph_of(*nodes)
    unsigned = Grid.power_of_two(8, 4, signed=False)
    return program_of(quantized(graph, target, conv=unsigned, pool=unsigned), "m", "none")


@pytest.mark.parametrize(
    ("target", "counts_padding", "expected"),
    [
        ("generic-po2", True, [0, 4, 2]),  # 1 / 2, 7 / 2, 3 / 2: half to even
        ("generic-po2", False, [1, 4, 3]),
        # codes are stored less 128, so that their halves lie below zero, and half away goes down
        ("litert-po2", True, [0, 3, 1]),
        ("litert-po2", False, [1, 3, 3]),
    ],
)
def test_averages_count_their_padding_as_code_zero(target, counts_padding, expected):
    program = pooled(target, counts_padding)
    assert run(program, np.array([[[1, 3, 4, 3]]]))["pool"].tolist() == [[expected]]


def test_float_parts_in_front_of_integer_ones_are_refused_with_all_names():
    odd = {"what": "Odd", "reason": "no integer kernel"}
    nodes = [argument(2)]
    for index in range(3):
        nodes.append(linear(f"fc{index}", nodes[-1].name))
        nodes.append(Node(f"odd{index}", UNKNOWN, (f"fc{index}",), (Batch(), 2), attrs=odd))
    graph = graph_of(*nodes, keep_float=["odd0", "odd1"])
    with pytest.raises(UnsupportedOp, match="odd0: stays float in front of integer ops; odd1: stays") as caught:
        program_of(quantized(graph), "m", "none")
    assert caught.value.names == ("odd0", "odd1")  # odd2 is the end


def test_ops_that_mix_samples_and_constants_of_several_are_refused_together():
    constant = Node("k", CONSTANT, (), (Batch(3), 2), attrs={"value": np.zeros((3, 2), np.float32)})
    nodes = (
        argument(2),
        linear("fc", "x"),
        Node("mixed", "reshape", ("fc",), (Batch(2), 1)),
        Node("turned", "transpose", ("fc",), (2, Batch()), attrs={"order": (1, 0)}),
        constant,
        Node("sum", "add", ("fc", "k"), (Batch(), 2)),
    )
    graph = graph_of(*nodes, outputs=("mixed", "turned", "sum"))
    with pytest.raises(UnsupportedOp, match=r"mixed: mixes samples, from \(batch, 2\) to \(2 \* batch, 1\)") as caught:
        program_of(quantized(graph), "m", "none")
    assert caught.value.names == ("mixed", "turned", f"k{INPUT_SUFFIX}")


def test_a_bias_past_int32_is_refused_by_name():
    fine, large = Grid.power_of_two(8, -8), np.full(2, 2.0**10)
    graph = graph_of(argument(2), linear("fc", "x", bias=large))
    with pytest.raises(GridError, match="fc: code"):
        program_of(quantized(graph, x=fine, **{"fc.weight": fine}), "m", "none")


def test_free_steps_are_refused_by_name():
    graph = graph_of(argument(2), linear("fc", "x"))
    with pytest.raises(GridError, match=r"\(fc\.weight\)"):
        program_of(quantized(graph, **{"fc.weight": Grid(8, (0.3,))}), "m", "none")

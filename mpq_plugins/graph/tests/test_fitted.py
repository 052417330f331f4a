"""A graph as a target's kernels have it: compositions, ops without a kernel, grids that a kernel fixes."""

import numpy as np
import pytest

from mpq_plugins import Grid, Target, plugins
from mpq_plugins.errors import TargetError, UnsupportedOp
from mpq_plugins.graph.describing import as_records
from mpq_plugins.graph.fitted import with_compositions, without_kernels
from mpq_plugins.graph.node import ARGUMENT, UNKNOWN, Batch, Graph, Node, Operand
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.reading import settled
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.search_input import candidates_for

X86, LITERT = plugins.target("torch-x86"), plugins.target("litert-po2")


def graph(*functions):
    """A linear layer, functions of one element one behind another, and a linear layer."""
    shape = (Batch(), 4)
    nodes = [Node("x", ARGUMENT, (), shape, attrs={"index": 0})]
    for name in ("first", *functions, "last"):
        weight = np.eye(4) if name in ("first", "last") else None
        op = name if weight is None else "linear"
        nodes.append(Node(name, op, (nodes[-1].name,), shape, weight))
    return Graph(tuple(nodes), ("last",), "NCHW")


def test_silu_is_a_sigmoid_and_a_product_on_torch_s_engines_and_a_table_elsewhere():
    found = settled(graph("silu"), target=X86)
    assert [(n.name, n.op, n.inputs) for n in found.nodes[3:5]] == [
        ("silu__sigmoid", "sigmoid", ("first",)),
        ("silu", "mul", ("first", "silu__sigmoid")),
    ]
    assert "silu__sigmoid" not in settled(graph("silu"), target=LITERT)
    assert "silu__sigmoid" not in settled(graph("silu"))


def test_a_silu_that_stays_float_is_not_taken_apart():
    found = settled(graph("silu"), ["silu"], target=X86)
    assert found.float_ops == ("silu",)
    assert "silu__sigmoid" not in found


def test_every_function_without_a_kernel_is_float_where_the_target_has_float_arithmetic():
    found = settled(graph("mish", "gelu", "sigmoid"), target=X86)
    assert found.float_ops == ("mish", "gelu")
    assert found["sigmoid"].inputs == ("gelu__input",)
    assert settled(graph("mish", "gelu", "sigmoid"), target=LITERT).float_ops == ()


def test_every_function_without_a_kernel_is_refused_at_once_where_the_target_has_integers_only():
    integers = X86.model_copy(update={"float_arithmetic": False})
    with pytest.raises(UnsupportedOp, match="mish: target 'torch-x86' has no kernel for mish; gelu: ") as caught:
        settled(graph("mish", "gelu", "sigmoid"), target=integers)
    assert list(caught.value.names) == ["mish", "gelu"]


def test_a_graph_whose_ops_all_have_kernels_stays_as_it_is():
    plain = graph("hardswish")
    for change in (with_compositions, without_kernels):
        assert change(plain, X86).nodes == plain.nodes


def test_a_site_whose_kernel_fixes_the_grid_takes_it_whatever_bits_are_asked():
    inventory = Inventory([Site("gate", "activation", "sigmoid", (4,), signed=False)], live=[["gate"]])
    (kind,) = candidates_for(inventory, X86, activation_bits=4)["gate"]
    assert (kind.bits, kind.signed, kind.exponent) == (8, False, 0)


def test_sites_that_share_a_fixed_grid_take_it_or_are_refused_by_name():
    def sites(signed):
        gate = Site("gate", "activation", "sigmoid", (4,), signed=False, group="cat")
        other = Site("other", "activation", "linear", (4,), signed=signed, group="cat")
        return Inventory([gate, other], live=[["gate", "other"]])

    found = candidates_for(sites(False), X86, activation_bits=(4, 8))
    assert found["other"] == found["gate"]
    with pytest.raises(TargetError, match=r"gate, other must share one grid.*sigmoid.*\(gate\) fixes.*other cannot"):
        candidates_for(sites(True), X86, activation_bits=8)


def test_another_grid_than_the_kernel_s_is_refused():
    plain = settled(graph("sigmoid"), target=X86)
    sites = take_sites(plain)
    grids = {site.name: Grid.power_of_two(8, 1, site.signed) for site in sites.inventory}
    with pytest.raises(TargetError, match=r"site 'sigmoid'.*its kernel fixes the threshold at 2\^0"):
        QuantizedGraph.of(plain, sites, grids, X86)
    grids["sigmoid"] = Grid.power_of_two(8, 0, signed=False)
    QuantizedGraph.of(plain, sites, grids, X86)


def test_a_target_that_lists_lookup_has_every_function_and_one_without_it_those_that_it_lists():
    few = Target(name="few", ops={"linear": {"weight": {}, "activation": {}}, "tanh": {"activation": {}}})
    assert few.runs("tanh")
    assert not few.runs("gelu")
    assert LITERT.runs("gelu")
    assert not LITERT.runs("no such function")


def test_a_product_whose_sums_could_round_in_the_runtime_is_float_and_the_others_of_an_attention_are_not():
    shape = (Batch(), 2, 600, 8)
    arguments = {**dict.fromkeys(["input", "key", "value"], Operand(0)), "scale": 0.3}
    attention = Node("y", UNKNOWN, ("x",), shape, attrs={"function": "attention", "arguments": arguments})
    graph = Graph((Node("x", ARGUMENT, (), shape, attrs={"index": 0}), attention), ("y",), "NCHW")
    of_torch, of_onnx = (as_records(graph, target) for target in (X86, plugins.target("onnxruntime")))
    assert [node.attrs.get("what") for node in of_torch.nodes if node.op == UNKNOWN] == ["softmax", "matmul"]
    assert [node.op for node in of_torch.nodes].count("matmul") == 1
    assert any("600 products" in node.attrs.get("reason", "") for node in of_torch.nodes)
    assert [node.op for node in of_onnx.nodes].count("matmul") == 2

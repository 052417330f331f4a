from dataclasses import replace

import numpy as np
import pytest

from mpq_plugins.errors import ModelError, UnsupportedOp
from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.float_parts import OneNode, kept_names, settle_float_parts
from mpq_plugins.graph.node import ARGUMENT, UNKNOWN, Batch, Graph, Node
from mpq_plugins.graph.reading import settled
from mpq_plugins.graph.shares import BEHIND, BETWEEN, KEPT, float_macs, float_reasons
from mpq_plugins.hardware.target import Target

SHAPE = (Batch(), 4)


def chain(*ops):
    nodes = [Node("x", ARGUMENT, (), SHAPE, attrs={"index": 0})]
    for index, op in enumerate(ops):
        weight = np.eye(4) if op == "linear" else None
        attrs = {"what": "Odd", "reason": "no integer kernel for Odd"} if op == UNKNOWN else {}
        nodes.append(Node(f"{op}{index}", op, (nodes[-1].name,), SHAPE, weight, attrs=attrs))
    return Graph(tuple(nodes), (nodes[-1].name,), "NCHW")


def ops_of(graph):
    return [(node.name, node.op) for node in graph.nodes]


def test_an_input_node_stands_behind_a_float_tensor_that_is_quantized():
    assert ops_of(settle_float_parts(chain("linear"))) == [
        ("x", "argument"), ("x__input", "input"), ("linear0", "linear")]  # fmt: skip


def test_what_no_record_describes_is_float_behind_the_last_weight_and_so_is_all_that_reads_it():
    graph = settle_float_parts(chain("linear", UNKNOWN, "clamp"))
    assert graph.float_ops == ("unknown1", "clamp2")
    assert graph["clamp2"].attrs["was"].op == "clamp"
    assert graph.integer_outputs == ("linear0",)


def test_what_no_record_describes_is_refused_in_front_of_a_weight_all_names_at_once():
    graph = chain(UNKNOWN, "linear", UNKNOWN, "linear", UNKNOWN)
    with pytest.raises(UnsupportedOp, match=r"keep_float=\['unknown0', 'unknown2'\]") as caught:
        settle_float_parts(graph, anywhere=False)
    assert caught.value.names == ("unknown0", "unknown2")


def test_what_is_kept_in_float_is_float_and_what_follows_is_quantized_again():
    graph = settle_float_parts(chain("linear", UNKNOWN, "linear"), keep_float=["unknown1"])
    assert graph.float_ops == ("unknown1",)
    assert graph["linear2"].inputs == ("unknown1__input",)
    assert graph["unknown1__input"].site == "unknown1"
    assert graph.integer_outputs == ("linear2", "linear0")


@pytest.mark.parametrize("pattern", ["linear0", "lin*0", "*0"])
def test_names_and_patterns_of_known_ops_can_be_kept_in_float(pattern):
    assert settle_float_parts(chain("linear", "linear"), keep_float=[pattern]).float_ops == ("linear0",)


def test_a_name_of_a_module_keeps_all_that_it_holds():
    nodes = tuple(
        Node(node.name.replace("linear", "block.linear"), node.op, tuple(n.replace("linear", "block.linear")
             for n in node.inputs), node.shape, node.weight, attrs=node.attrs)
        for node in chain("linear", "linear").nodes
    )  # fmt: skip
    head = Node("head", "linear", ("block.linear1",), SHAPE, np.eye(4))
    graph = settle_float_parts(Graph((*nodes, head), ("head",), "NCHW"), keep_float=["block"])
    assert graph.float_ops == ("block.linear0", "block.linear1")


def test_a_name_of_a_recipe_keeps_the_node_of_that_name_alone():
    nodes = chain("linear", "sqrt", "reshape", "linear").nodes
    inner, last = replace(nodes[2], name="norm.sqrt0"), replace(nodes[3], name="norm", inputs=("norm.sqrt0",))
    graph = Graph((*nodes[:2], inner, last, replace(nodes[4], inputs=("norm",))), ("linear3",), "NCHW")
    assert kept_names(graph, ["norm"]) == {"norm", "norm.sqrt0"}
    assert kept_names(graph, [OneNode("norm")]) == {"norm"}


def test_a_name_that_matches_nothing_is_an_error_with_the_closest_one():
    with pytest.raises(ModelError, match="'liner0', which matches nothing in the model; did you mean 'linear0'"):
        settle_float_parts(chain("linear", "linear"), keep_float=["liner0"])


def test_a_model_without_a_weight_to_quantize_is_refused():
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        settle_float_parts(chain("clamp"))
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        settle_float_parts(chain("linear"), keep_float=["linear0"])


def test_what_no_record_describes_is_float_between_grids_where_nothing_refuses_it():
    graph = settle_float_parts(chain("linear", UNKNOWN, "linear"))
    assert graph.float_ops == ("unknown1",)
    assert graph["linear2"].inputs == ("unknown1__input",)


def test_an_op_without_a_weight_that_only_float_ops_feed_and_read_is_float_too():
    graph = settle_float_parts(chain("linear", UNKNOWN, "transpose", "clamp", UNKNOWN, "linear"))
    assert graph.float_ops == ("unknown1", "transpose2", "clamp3", "unknown4")
    assert float_reasons(graph) == {
        "unknown1": "no integer kernel for Odd",
        "transpose2": BETWEEN,
        "clamp3": BETWEEN,
        "unknown4": "no integer kernel for Odd",
    }
    graph = settle_float_parts(chain("linear", UNKNOWN, "clamp", "linear"))
    assert graph.float_ops == ("unknown1",)


def test_a_sum_with_a_constant_that_only_a_float_op_reads_is_float_with_it_and_no_other_op_is():
    graph = settle_float_parts(chain("linear", "clamp", AFFINE, UNKNOWN, "linear", AFFINE, "linear"))
    assert float_reasons(graph) == {"affine2": BETWEEN, "unknown3": "no integer kernel for Odd"}
    assert settle_float_parts(chain(AFFINE, "linear", AFFINE, UNKNOWN), anywhere=False).float_ops == ("unknown3",)


def test_each_float_op_says_why_it_is_float():
    graph = settle_float_parts(chain("linear", "clamp", "linear", UNKNOWN, "clamp"), ["clamp1"])
    assert float_reasons(graph) == {"clamp1": KEPT, "unknown3": "no integer kernel for Odd", "clamp4": BEHIND}


def test_what_a_target_refuses_on_its_grids_is_float_where_it_has_float_arithmetic():
    def refuses(made):
        return {"linear1": "no grid for it"} if made["linear1"].op == "linear" else {}

    three = chain("linear", "linear", "linear")
    graph = settled(three, refuses=refuses)
    assert float_reasons(graph) == {"linear1": "no grid for it"}
    assert float_macs(graph) == {"linear1": 16}
    integers = Target(name="npu", ops={"linear": {"weight": {}, "activation": {}}})
    with pytest.raises(UnsupportedOp, match=r"linear1: no grid for it\. Name them in keep_float=.* 33.3 %"):
        settled(three, target=integers, refuses=refuses)


def test_what_a_runtime_has_nothing_for_at_all_is_refused_alone():
    graph = chain("linear", UNKNOWN, UNKNOWN, "linear")
    with pytest.raises(UnsupportedOp, match="nothing that computes unknown2 in float") as caught:
        settled(graph, refuses=lambda made: {"unknown2": "no form of Odd"})
    assert caught.value.names == ("unknown2",)


def test_a_refusal_says_what_share_of_the_multiplications_float_would_be():
    graph = chain("linear", UNKNOWN, "linear")
    counted = graph.with_nodes([replace(graph["unknown1"], attrs={**graph["unknown1"].attrs, "macs": 32})])
    with pytest.raises(UnsupportedOp, match="50 % of the multiply-accumulates"):
        settle_float_parts(counted, anywhere=False)

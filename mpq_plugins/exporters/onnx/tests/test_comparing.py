"""What verification compares, and how: the integer part, and what lies behind it in float."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from mpq_plugins import Grid, UnsupportedOp
from mpq_plugins.exporters.onnx.comparing import Simulated, compare
from mpq_plugins.exporters.onnx.exporting import export
from mpq_plugins.exporters.onnx.running import load, run, session, tail_of
from mpq_plugins.exporters.onnx.tests.graphs import argument, on_grids
from mpq_plugins.graph.node import FLOAT, Batch, Node, Operand
from mpq_plugins.graph.quantized import QuantizedGraph

GRID = Grid.power_of_two(8, 3)
RNG = np.random.default_rng(0)
CODES = RNG.integers(-128, 128, (50, 4))
X = (CODES * GRID.steps[0]).astype(np.float32)


def float_node(name: str, inputs: tuple[str, ...], function: str, **arguments: Any) -> Node:
    attrs = {"what": function, "function": function, "arguments": arguments}
    return Node(name, FLOAT, inputs, (Batch(), 4), attrs=attrs)


def with_softmax() -> QuantizedGraph:
    """x, the softmax of twice x, and their product: an integer output and two float ones."""
    doubled = float_node("doubled", ("x__input",), "mul", input=Operand(0), other=2.0)
    share = float_node("share", ("doubled",), "softmax", input=Operand(0), axis=1)
    product = float_node("product", ("x", "share"), "mul", input=Operand(1), other=Operand(0))
    outputs = ("x__input", "share", "product")
    return on_grids([*argument((4,)), doubled, share, product], {"x": GRID}, outputs)


def simulated(ends: np.ndarray) -> Simulated:
    powers = np.exp(2 * X.astype(np.float64))
    share = powers / powers.sum(1, keepdims=True)
    return Simulated([X], [ends], lambda: {"x": (ends, GRID.steps[0])}, [X, share, share * X])


def test_float_ends_are_compared_bit_for_bit_and_with_what_the_framework_computes() -> None:
    for optimized in (True, False):
        found = compare(export(with_softmax()), [simulated(X)], optimized)
        assert found.exact
        assert (found.elements, found.float_elements, found.float_mismatched) == (200, 400, 0)
        assert 0 < (found.float_distance or 0.0) < 1e-6
        assert "the 400 output values behind float ops are what the runtime computes" in str(found)


def test_integers_that_differ_are_counted_and_named_and_so_is_what_follows_from_them() -> None:
    other = X.copy()
    other[0, 0] += GRID.steps[0]
    found = compare(export(with_softmax()), [simulated(other)])
    assert not found
    assert (found.mismatched, found.first_differing_site) == (1, "x")
    assert found.float_mismatched > 0


def test_a_float_end_of_another_function_shows_in_the_distance_from_the_framework() -> None:
    proto = load(export(with_softmax()))
    softmax = next(node for node in proto.graph.node if node.op_type == "Softmax")
    softmax.op_type = "LogSoftmax"
    found = compare(proto, [simulated(X)])
    assert found.exact  # the runtime computes what the file says
    assert (found.float_distance or 0.0) > 1


def test_the_tail_of_a_model_computes_its_float_outputs_from_the_ends() -> None:
    proto = load(export(with_softmax()))
    tail = tail_of(proto, ["output_0"])
    onnx.checker.check_model(tail, full_check=True)
    assert [info.name for info in tail.graph.input] == ["output_0", "x"]
    assert [info.name for info in tail.graph.output] == ["output_1", "output_2"]
    assert "QuantizeLinear" not in {node.op_type for node in tail.graph.node}
    (share, product) = run(session(tail), [X, X])
    np.testing.assert_allclose(share.sum(1), 1, rtol=1e-6)
    np.testing.assert_allclose(product, share * X, rtol=1e-6)


@pytest.mark.parametrize(
    ("node", "match"),
    [
        (float_node("f", ("x__input",), "softmax", input=Operand(0), axis=1, dtype="half"), "f: softmax with dtype="),
        (float_node("f", ("x__input",), "elu", input=Operand(0), alpha=1.0, beta=2), "f: elu with beta=2 has no"),
        (float_node("f", ("x__input",), "cumprod", input=Operand(0)), "f: cumprod has no ONNX form here"),
        (Node("f", FLOAT, ("x__input",), (Batch(), 4), attrs={"what": "Lambda"}), "f: Lambda has no ONNX form here"),
    ],
    ids=str,
)
def test_what_no_form_names_is_refused_by_name(node: Node, match: str, tmp_path: Any) -> None:
    with pytest.raises(UnsupportedOp, match=match):
        export(on_grids([*argument((4,)), node], {"x": GRID}), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()

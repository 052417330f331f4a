"""Every function of one element, for all codes, against the table that defines it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mpq_plugins import Grid
from mpq_plugins.exporters.onnx.exporting import export
from mpq_plugins.exporters.onnx.running import load, run, session
from mpq_plugins.exporters.onnx.tests.graphs import argument, on_grids
from mpq_plugins.graph.node import Batch, Node
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runtimes import all_runtimes

ATTRS: dict[str, list[dict[str, Any]]] = {
    "affine": [{"scale": 1 / 3, "offset": -0.7}, {"scale": -1.0, "offset": 0.0}, {"scale": 1.0, "offset": 0.1}],
    "elu": [{"alpha": 0.7}],
    "gelu": [{"approximate": False}, {"approximate": True}],
    "leaky_relu": [{"slope": 0.3}],
    "piecewise": [{"steps": (("greater", ("x", 0.3), ()), ("choose", (0, "x", -0.5), ()), ("sigmoid", (1,), ()))}],
    "power": [{"exponent": 3.0}, {"exponent": 0.5}, {"exponent": -1.5}],
    "threshold": [{"threshold": 0.5, "value": -0.25}, {"threshold": -1.0, "value": 3.0}],
    "threshold_relu": [{"threshold": 0.5, "slope": 0.1, "high": 3.0}, {"threshold": 0.25, "slope": 0.0, "high": None}],
}
CASES = [(word, attrs) for word, op in all_ops().items() if op.table for attrs in ATTRS.get(word, [{}])]


def with_function(word: str, attrs: dict[str, Any], source: Grid, grid: Grid, **bounds: float) -> QuantizedGraph:
    node = Node("y", word, ("x__input",), (Batch(),), attrs=attrs, **bounds)  # type: ignore[arg-type]
    return on_grids([*argument(()), node], {"x": source, "y": grid})


@pytest.mark.parametrize(("word", "attrs"), CASES, ids=str)
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_function_of_one_element_gives_its_table_for_all_codes(
    word: str, attrs: dict[str, Any], symmetric: bool
) -> None:
    for bits in range(2, 9):
        for signed, exponent, to in ((True, 2, 1), (False, 3, 2), (True, -1, 0)):
            source, grid = Grid.power_of_two(bits, exponent, signed), Grid.power_of_two(10 - bits, to)
            quantized = with_function(word, attrs, source, grid)
            x = (np.arange(source.low, source.high + 1) * source.steps[0]).astype(np.float32)
            wanted = quantized.table(quantized.graph["y"]) * grid.steps[0]
            content = export(quantized, symmetric=symmetric)
            for optimized in (True, False):
                np.testing.assert_array_equal(run(session(content, optimized), [x])[0], wanted)


@pytest.mark.parametrize("bits", [(8, 8), (5, 3), (3, 6)])
def test_a_function_whose_own_kernel_is_used_gives_its_table_on_all_grids(bits: tuple[int, int]) -> None:
    for word in all_runtimes()["onnxruntime", "cpu"].functions:
        for exponent in range(-4, 6):
            for to in range(-5, 6):
                source, grid = Grid.power_of_two(bits[0], exponent), Grid.power_of_two(bits[1], to)
                quantized = with_function(word, {}, source, grid)
                x = (np.arange(source.low, source.high + 1) * source.steps[0]).astype(np.float32)
                content = export(quantized)
                assert "Gather" not in {node.op_type for node in load(content).graph.node}
                wanted = quantized.table(quantized.graph["y"]) * grid.steps[0]
                for optimized in (True, False):
                    np.testing.assert_array_equal(run(session(content, optimized), [x])[0], wanted)


@pytest.mark.parametrize(("low", "high", "expected"), [(0.0, 6.0, (0.0, 6.0)), (-0.3, 0.7, (-0.25, 0.5))])
def test_a_fused_clamp_is_clipped_to_the_codes_inside_of_it(
    low: float, high: float, expected: tuple[float, float]
) -> None:
    source, grid = Grid.power_of_two(8, 3), Grid.power_of_two(8, 5)
    quantized = with_function("hardswish", {}, source, grid, low=low, high=high)
    x = np.linspace(-8, 8, 101, dtype=np.float32)
    (got,) = run(session(export(quantized)), [x])
    assert (got.min(), got.max()) == expected
    assert [node.op_type for node in load(export(quantized)).graph.node].count("Clip") == 1


def test_a_clamp_between_two_codes_gives_the_lower_one() -> None:
    grid = Grid.power_of_two(8, 7)
    node = Node("y", "clamp", ("x__input",), (Batch(),), low=0.25, high=0.75)
    content = export(on_grids([*argument(()), node], {"x": grid}))
    assert run(session(content), [np.array([-3, 0, 1, 5], np.float32)])[0].tolist() == [0, 0, 0, 0]

"""GraphWriter: small graphs against arithmetic on integers, in onnxruntime."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnx
import pytest

from mpq_plugins import Grid, GridError, ModelError, PluginError
from mpq_plugins.exporters.onnx.comparing import Simulated, compare
from mpq_plugins.exporters.onnx.requirements import require
from mpq_plugins.exporters.onnx.running import load, run, session
from mpq_plugins.exporters.onnx.writer import GraphWriter, Weight

STEP = 2.0**-4
RNG = np.random.default_rng(0)


def linear_graph(weight_grid: Grid, grid: Grid, pack: bool = True, symmetric: bool = False, opset: int = 21) -> Any:
    """y = x @ w.T + b on grids, [batch, 6] -> [batch, 3]; returns the model and its integers."""
    source = Grid.power_of_two(8, 3)
    codes = RNG.integers(weight_grid.low, weight_grid.high + 1, (3, 6))
    bias = RNG.integers(-500, 500, 3)
    writer = GraphWriter(opset, pack, symmetric)
    x = writer.quantize(writer.input("x", ["batch", 6]), "x", "x_codes", source)
    y = writer.layer("Gemm", "fc", "fc", x, Weight(codes, weight_grid, bias), grid, transB=1)
    writer.output("y", y, ["batch", 3])
    return writer.model([writer.float_of(y)], {}), codes, bias


def rounded(numerators: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """numerators / 2**shift, half to even, in integers."""
    floor = numerators >> shift
    rest, half = numerators - (floor << shift), 1 << (shift - 1)
    return floor + ((rest > half) | ((rest == half) & (floor % 2 == 1)))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("weight_bits", "opset"), [(7, 21), (5, 23), (4, 21), (2, 21), (2, 25)])
def test_a_layer_computes_what_integers_give_with_and_without_optimizations(
    symmetric: bool, per_channel: bool, weight_bits: int, opset: int
) -> None:
    exponents = [0, -1, 1] if per_channel else 0
    weight_grid = Grid.power_of_two(weight_bits, exponents, axis=0 if per_channel else None)
    grid = Grid.power_of_two(5, 3)
    model, codes, bias = linear_graph(weight_grid, grid, symmetric=symmetric, opset=opset)
    x = RNG.integers(-128, 128, (200, 6))
    steps = np.broadcast_to(weight_grid.steps, 3) * STEP
    shift = np.log2(grid.steps[0] / steps).astype(int)
    expected = np.clip(rounded(x @ codes.T + bias, shift), grid.low, grid.high) * grid.steps[0]
    assert len(np.unique(expected)) > 4
    for optimized in (False, True):
        (got,) = run(session(model, optimized), [(x * STEP).astype(np.float32)])
        np.testing.assert_array_equal(got, expected)


def test_an_input_is_rounded_before_its_zero_point_is_added() -> None:
    # adding 128 in float32 first would make a tie of the number below it
    grid = Grid.power_of_two(8, 7)
    writer = GraphWriter(21)
    writer.output("y", writer.quantize(writer.input("x", [None]), "x", "x_codes", grid), [None])
    below = np.nextafter(np.float32(0.5), np.float32(0))
    x = np.array([below, 0.5, 1.5, 2.5, -0.5, -1.5, -below, 1000, -1000], np.float32)
    for optimized in (False, True):
        (got,) = run(session(writer.model([], {}), optimized), [x])
        assert got.tolist() == [0, 0, 2, 2, 0, -2, 0, 127, -128]


def test_what_the_graph_stores_is_integers_of_the_smallest_type() -> None:
    model, codes, bias = linear_graph(Grid.power_of_two(3, 0), Grid.power_of_two(8, 2))
    stored = {t.name: t for t in model.graph.initializer}
    assert stored["fc.weight.codes"].data_type == onnx.TensorProto.INT4
    assert len(stored["fc.weight.codes"].raw_data) == codes.size // 2
    assert onnx.numpy_helper.to_array(stored["fc.bias.codes"]).tolist() == bias.tolist()
    assert all(t.data_type != onnx.TensorProto.FLOAT or t.name.startswith("step.") for t in model.graph.initializer)
    unpacked, *_ = linear_graph(Grid.power_of_two(3, 0), Grid.power_of_two(8, 2), pack=False)
    assert {t.data_type for t in unpacked.graph.initializer if "codes" in t.name} == {
        onnx.TensorProto.INT8,
        onnx.TensorProto.INT32,
    }


def test_a_grid_below_8_bits_is_clipped_on_the_integers() -> None:
    model, *_ = linear_graph(Grid.power_of_two(8, 0), Grid.power_of_two(5, 3))
    assert [n.op_type for n in model.graph.node].count("Clip") == 1
    whole, *_ = linear_graph(Grid.power_of_two(8, 0), Grid.power_of_two(8, 3))
    assert "Clip" not in [n.op_type for n in whole.graph.node]


@pytest.mark.parametrize("opset", [7, 20])
def test_an_opset_without_4_bit_types_is_refused(opset: int) -> None:
    with pytest.raises(ModelError, match=rf"opset {opset} is too old: .* need 21 or later"):
        GraphWriter(opset)


def test_an_opset_that_onnx_does_not_know_is_refused() -> None:
    with pytest.raises(ModelError, match=r"opset 999 is newer than the installed onnx knows"):
        GraphWriter(999)
    with pytest.raises(ModelError, match="an opset is a number, for example 21, and not '21'"):
        GraphWriter("21")  # type: ignore[arg-type]


def test_a_bias_past_int32_is_refused_by_site_and_size() -> None:
    writer = GraphWriter(21)
    x = writer.quantize(writer.input("x", ["batch", 1]), "x", "x_codes", Grid.power_of_two(8, 0))
    weight = Weight(np.ones((1, 1), int), Grid.power_of_two(8, 0), np.array([3e9]))
    with pytest.raises(GridError, match=r"fc: its bias is 3e\+09 steps of the accumulator, and an int32 bias holds"):
        writer.layer("Gemm", "fc", "fc", x, weight, Grid.power_of_two(8, 0), transB=1)


def test_a_step_that_float32_lacks_is_refused_by_site() -> None:
    writer = GraphWriter(21)
    with pytest.raises(GridError, match="x: ONNX stores steps in float32"):
        writer.quantize(writer.input("x", [1]), "x", "x_codes", Grid.power_of_two(8, -140))


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(PluginError, match=r"onnx is not installed; install it with: pip install 'mpq-plugins\[onnx\]'"):
        require("onnx")
    with pytest.raises(PluginError, match="onnx is not installed"):
        GraphWriter(21)


def test_inputs_of_another_shape_are_refused_by_name() -> None:
    model, *_ = linear_graph(Grid.power_of_two(8, 0), Grid.power_of_two(8, 3))
    with pytest.raises(ModelError, match=r"input 'x' of the ONNX model has shape .*'batch', 6.*, got \[2, 5\]"):
        run(session(model), [np.zeros((2, 5), np.float32)])
    with pytest.raises(ModelError, match="takes 1 inputs, got 2"):
        run(session(model), [np.zeros((2, 6), np.float32)] * 2)


def test_what_is_no_model_of_ours_is_refused(tmp_path: Any) -> None:
    with pytest.raises(ModelError, match="this is no ONNX model"):
        load(b"not a protobuf")
    with pytest.raises(ModelError, match=r"cannot read the ONNX model .*none\.onnx: No such file"):
        load(tmp_path / "none.onnx")
    foreign = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    with pytest.raises(ModelError, match="was not exported by mpq-plugins"):
        compare(foreign, [Simulated([], [], dict)])

"""The interpreter's kernels against whole-number arithmetic: where they deviate, and what is kept from them."""

import numpy as np
import pytest

from mpq_plugins import ModelError, plugins
from mpq_plugins.exporters.litert.flatbuffer import unpacked
from mpq_plugins.exporters.litert.requirements import schema
from mpq_plugins.exporters.litert.running import run_litert, with_outputs
from mpq_plugins.exporters.litert.writer import write_litert
from mpq_plugins.graph.node import ARGUMENT, INPUT, Batch, Graph, Node
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.grid import Grid

CODES = np.arange(-128, 128)
POINTWISE = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}


def file_of(op, weight, bias, bits, shift, target="litert-po2", steps=1.0, groups=1):
    """A layer [out, in / groups] at every position of a 16 x 16 image: input of 8 bits, output 2**shift as coarse."""
    out, into = weight.shape[0], weight.shape[1] * groups
    sizes = (16, 16) if op != "linear" else ()
    kernel = weight if op == "linear" else weight[:, :, None, None]
    attrs = POINTWISE | {"groups": groups}
    first = Node("x", ARGUMENT, (), (Batch(), *sizes, into), attrs={"index": 0})
    layer = Node("y", op, ("x__input",), (Batch(), *sizes, out), kernel * steps, bias * steps, attrs=attrs)
    graph = Graph((first, Node("x__input", INPUT, ("x",), first.shape), layer), ("y",), "NHWC")
    grids = {"x": Grid(8, (1.0,)), "y.weight": Grid(bits, (steps,)), "y": Grid(8, (2.0**shift,))}
    return write_litert(QuantizedGraph.of(graph, take_sites(graph), grids, plugins.target(target)))


def codes_of(flat, x, kernels="xnnpack"):
    return run_litert(with_outputs(flat, ["y"]), x.astype(np.float32), kernels)[0].astype(int)


def shifted(total, shift, upward):
    """Twice rounded by whole numbers: a halving, half up, then the rest of the shift, half up or away from zero."""
    half = (total + 1) // 2
    rest = shift - 1
    if not rest:
        return half
    if upward or half >= 0:
        return (half + (1 << (rest - 1))) >> rest
    return -((-half + (1 << (rest - 1))) >> rest)


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
@pytest.mark.parametrize("shift", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("channels", [1, 5, 8, 13, 16, 19])
def test_transposed_convolutions_shift_whole_vectors_half_up_and_the_rest_half_away(channels, shift, kernels):
    bias = np.random.default_rng(channels).integers(-60, 60, channels)
    flat = file_of("conv_transpose2d", np.ones((channels, 1)), bias, 8, shift)
    got = codes_of(flat, CODES.reshape(1, 16, 16, 1), kernels).reshape(256, channels)
    vectors = channels // 8 * 8 if kernels == "xnnpack" else 0
    wanted = [[shifted(int(c) + int(b), shift, i < vectors) for i, b in enumerate(bias)] for c in CODES]
    np.testing.assert_array_equal(got, np.clip(wanted, -128, 127))


@pytest.mark.parametrize("shift", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [1, 5, 8, 13, 19])
@pytest.mark.parametrize("op", ["conv2d", "linear"])
def test_optimized_convolutions_and_dense_layers_shift_every_channel_half_up(op, channels, shift):
    bias = np.random.default_rng(channels).integers(-60, 60, channels)
    flat = file_of(op, np.ones((channels, 1)), bias, 8, shift, "litert-po2-optimized")
    x = CODES.reshape(256, 1) if op == "linear" else CODES.reshape(1, 16, 16, 1)
    got = codes_of(flat, x, "optimized").reshape(256, channels)
    wanted = [[shifted(int(c) + int(b), shift, True) for b in bias] for c in CODES]
    np.testing.assert_array_equal(got, np.clip(wanted, -128, 127))


@pytest.mark.parametrize("shift", [1, 2, 3, 5])
@pytest.mark.parametrize("channels", [2, 5, 8, 13, 19])
def test_optimized_depthwise_convolutions_shift_whole_vectors_half_up_and_the_rest_half_away(channels, shift):
    bias = np.random.default_rng(channels).integers(-60, 60, channels)
    flat = file_of("depthwise_conv2d", np.ones((channels, 1)), bias, 8, shift, "litert-po2-optimized", groups=channels)
    x = np.repeat(CODES.reshape(1, 16, 16, 1), channels, -1)
    got = codes_of(flat, x, "optimized").reshape(256, channels)
    wanted = [[shifted(int(c) + int(b), shift, i < channels // 8 * 8) for i, b in enumerate(bias)] for c in CODES]
    np.testing.assert_array_equal(got, np.clip(wanted, -128, 127))


def test_kernels_that_litert_does_not_have_are_refused_by_name():
    with pytest.raises(ModelError, match="LiteRT has no kernels 'fast'; it has xnnpack, builtin, optimized"):
        codes_of(file_of("linear", np.ones((1, 1)), np.zeros(1), 8, 0), CODES.reshape(256, 1), "fast")


def packed_tensors(flat):
    return [t.name.decode() for t in unpacked(flat).subgraphs[0].tensors if t.type == schema().TensorType.INT4]


@pytest.mark.parametrize("op", ["linear", "conv2d"])
@pytest.mark.parametrize("inputs", [1, 2, 3, 7, 8, 16, 17])
def test_dense_layers_of_few_bits_are_exact_and_packed_where_the_number_of_inputs_is_even(op, inputs):
    rng = np.random.default_rng(inputs)
    weight, bias = rng.integers(-8, 8, (6, inputs)), rng.integers(-500, 500, 6)
    flat = file_of(op, weight.astype(float), bias, 4, 5)
    x = rng.integers(-128, 128, (9, *((16, 16) if op == "conv2d" else ()), inputs))
    wanted = np.clip(np.rint((x @ weight.T + bias) / 32), -128, 127)
    np.testing.assert_array_equal(codes_of(flat, x), wanted)
    assert packed_tensors(flat) == (["y.weight"] if inputs % 2 == 0 else [])


@pytest.mark.parametrize("op", ["linear", "conv2d"])
@pytest.mark.parametrize("margin", [-1, 1, 2**20])
def test_sums_from_2_to_the_27_on_keep_a_layer_unpacked_and_exact(op, margin):
    rng = np.random.default_rng(0)
    weight = rng.integers(-8, 8, (6, 16))
    most = np.abs(weight).sum(1).max() * 128
    bias = (2**27 - most + margin) * np.array([1, -1, 1, -1, 0, 0])
    flat = file_of(op, weight.astype(float), bias, 4, 21)
    x = rng.integers(-128, 128, (9, *((16, 16) if op == "conv2d" else ()), 16))
    total = (x @ weight.T + bias).astype(np.float32)  # XNNPACK holds sums as float32
    np.testing.assert_array_equal(codes_of(flat, x), np.clip(np.rint(total / 2**21), -128, 127))
    assert packed_tensors(flat) == (["y.weight"] if margin < 0 else [])

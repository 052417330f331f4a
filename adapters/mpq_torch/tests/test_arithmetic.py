"""The laws of the core equal torch's integer kernels bit for bit, on every engine."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpq_plugins.graph.arithmetic import window_keeps_ties
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.saturation import PairSaturation
from mpq_torch.pt2e.accumulation import accumulates_exactly
from mpq_torch.tests import kernel_arithmetic as arithmetic
from mpq_torch.torch_ao.engine import quantized_engine
from mpq_torch.torch_ao.observers import zero_point_of

pytestmark = pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*")
nnq = torch.ao.nn.quantized

ENGINES = ("x86", "onednn", "qnnpack")
ADD_ROUNDING = {"x86": "half_even", "onednn": "half_even", "qnnpack": "half_away"}
ALL_CODES = torch.arange(256, dtype=torch.uint8)
SIGNED, UNSIGNED = Grid.power_of_two(8, 3), Grid.power_of_two(8, 4, signed=False)


def from_codes(codes: Tensor, step: float, zero_point: int) -> Tensor:
    """A quint8 tensor with these stored values."""
    return torch._make_per_tensor_quantized_tensor(codes.to(torch.uint8), step, zero_point)


def random_on(grid: Grid, *shape: int, channels_last: bool = False) -> Tensor:
    """A quint8 tensor of random values of the grid."""
    zero_point = zero_point_of(grid)
    stored = torch.randint(grid.low + zero_point, grid.high + zero_point + 1, shape)
    tensor = from_codes(stored, grid.steps[0], zero_point)
    return tensor.contiguous(memory_format=torch.channels_last) if channels_last else tensor


def round_fraction(value: Fraction, rounding: str) -> int:
    floor = math.floor(value)
    if value - floor != Fraction(1, 2):
        return round(value)
    return {"half_even": round(value), "half_up": floor + 1, "half_away": floor + (value > 0)}[rounding]


@pytest.mark.parametrize("rounding", arithmetic.ROUNDINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rounding_equals_rational_arithmetic_at_ties_and_next_to_them(rounding, dtype):
    ties = torch.arange(-9, 10, dtype=dtype) / 2
    far = torch.tensor([2.0**22 + 0.5, 2.0**23 - 0.5, -(2.0**23) + 0.5, 2.0**24 - 1], dtype=dtype)
    x = torch.cat([ties, far])
    x = torch.cat([x, torch.nextafter(x, torch.tensor(torch.inf, dtype=dtype)), torch.nextafter(x, -x - 1)])
    expected = [round_fraction(Fraction(v), rounding) for v in x.tolist()]
    assert arithmetic.rounded(x, rounding).tolist() == expected


@pytest.mark.parametrize("zero_point", [0, 8, 128, 240])
@pytest.mark.parametrize("exponent", [-7, 0, 5])
def test_quantizing_a_float_input_equals_the_kernel_at_ties_and_next_to_them(zero_point, exponent):
    step = 2.0**exponent
    ties = torch.arange(-600, 600) / 2.0
    nearby = [ties + side * 2.0**-k for k in range(10, 26) for side in (-1, 1)]
    x = torch.cat([ties, *nearby, torch.randn(100_000) * 80]) * step
    kernel = torch.quantize_per_tensor(x, step, zero_point, torch.quint8).dequantize()
    low, high = -zero_point, 255 - zero_point
    assert torch.equal(arithmetic.quantize_input(x, step, low, high), kernel)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "exponents", [(-4, -4, -4), (-4, -5, -3), (-2, -7, 0), (-7, -2, -1), (-5, -5, -6), (-4, -12, -4)]
)
@pytest.mark.parametrize("zero_points", [(0, 128, 128), (128, 128, 0), (8, 0, 240)])
@pytest.mark.parametrize("relu", [False, True])
def test_add_equals_the_kernel_for_all_pairs_of_codes(engine, exponents, zero_points, relu):
    steps = [2.0**e for e in exponents]
    a = from_codes(ALL_CODES.repeat_interleave(256), steps[0], zero_points[0])
    b = from_codes(ALL_CODES.repeat(256), steps[1], zero_points[1])
    kernel = torch.ops.quantized.add_relu if relu else torch.ops.quantized.add
    with quantized_engine(engine):
        expected = kernel(a, b, steps[2], zero_points[2]).dequantize()
    low, high = (0 if relu else -zero_points[2]), 255 - zero_points[2]
    ours = arithmetic.add(a.dequantize(), b.dequantize(), steps[2], low, high, ADD_ROUNDING[engine])
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("exponents", [(-4, -4, -4), (-4, -5, -3), (-2, -7, 0), (-4, -4, 1)])
def test_multiply_equals_the_kernel_for_all_pairs_of_codes(engine, exponents):
    steps = [2.0**e for e in exponents]
    a = from_codes(ALL_CODES.repeat_interleave(256), steps[0], 128)
    b = from_codes(ALL_CODES.repeat(256), steps[1], 0)
    with quantized_engine(engine):
        expected = torch.ops.quantized.mul(a, b, steps[2], 128).dequantize()
    ours = arithmetic.multiply(a.dequantize(), b.dequantize(), steps[2], -128, 127)
    assert torch.equal(ours, expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("zero_points", [(0, 0), (128, 128), (8, 240), (128, 4)])
def test_hardswish_equals_the_kernel_for_all_codes(engine, zero_points):
    for exponent_in in range(-9, 1):
        x = from_codes(ALL_CODES, 2.0**exponent_in, zero_points[0])
        for exponent_out in range(-9, 1):
            step = 2.0**exponent_out
            with quantized_engine(engine):
                expected = torch.ops.quantized.hardswish(x, step, zero_points[1]).dequantize()
            low, high = -zero_points[1], 255 - zero_points[1]
            assert torch.equal(arithmetic.hardswish(x.dequantize(), step, low, high), expected)


def tied_means(count: int, zero_point: int) -> Tensor:
    """Stored values [60, count] whose sums, less the zero points, are exactly half-way between codes."""
    totals = count // 2 + count * torch.arange(60)
    stored = (totals // count + zero_point)[:, None].repeat(1, count)
    stored[:, : count // 2] += 1
    return stored


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("zero_point", [0, 128])
@pytest.mark.parametrize("channels_last", [False, True])
def test_mean_over_the_last_axes_equals_the_kernel_at_ties_of_every_count(engine, zero_point, channels_last):
    for count in range(2, 400, 2):
        height = next(h for h in (7, 13, 2) if count % h == 0)
        x = from_codes(tied_means(count, zero_point), 2.0**-4, zero_point)
        x = x.reshape(2, 30, height, count // height)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with quantized_engine(engine):
            expected = torch.mean(x, (-2, -1)).dequantize()
        assert torch.equal(arithmetic.mean(x.dequantize(), 2.0**-4, (-2, -1)), expected), count


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("grid", [SIGNED, UNSIGNED, Grid.power_of_two(4, 0)])
@pytest.mark.parametrize(
    "window",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": (3, 4)},
        {"kernel_size": (7, 3), "stride": (1, 2)},
        {"kernel_size": 3, "stride": 2, "ceil_mode": True},
        {"kernel_size": 8},
    ],
)
def test_average_pooling_equals_the_kernel(engine, grid, window):
    for channels in (2, 16, 67):
        for size in ((8, 9), (14, 8)):
            x = random_on(grid, 3, channels, *size, channels_last=True)
            with quantized_engine(engine):
                expected = F.avg_pool2d(x, **window).dequantize()
            assert torch.equal(arithmetic.average_pool2d(x.dequantize(), grid.steps[0], **window), expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_average_pooling_equals_the_kernel_at_ties_of_every_exact_window(engine, channels_last):
    for height in range(1, 9):
        for width in range(2, 33):
            if height * width % 2 or not window_keeps_ties((height, width)):
                continue
            for zero_point in (0, 128):
                stored = tied_means(height * width, zero_point)
                x = from_codes(stored, 2.0**-4, zero_point).reshape(1, 60, height, width)
                if channels_last:
                    x = x.contiguous(memory_format=torch.channels_last)
                with quantized_engine(engine):
                    expected = F.avg_pool2d(x, (height, width)).dequantize()
                ours = arithmetic.average_pool2d(x.dequantize(), 2.0**-4, (height, width))
                assert torch.equal(ours, expected), (height, width)


def test_windows_of_14_elements_are_not_promised():
    stored = tied_means(14, 0)
    x = from_codes(stored, 1.0, 0).reshape(1, 60, 2, 7)
    with quantized_engine("qnnpack"):
        kernel = F.avg_pool2d(x, (2, 7)).dequantize()
    assert not torch.equal(arithmetic.average_pool2d(x.dequantize(), 1.0, (2, 7)), kernel)
    assert not window_keeps_ties((2, 7))
    assert not window_keeps_ties((3, 7), ceil_mode=True)
    assert window_keeps_ties((3, 7))


def grid_layer(layer: nn.Module, weight: Grid, source: Grid) -> nn.Module:
    """The layer with random weights on their grid and random biases on the accumulator's."""
    steps = torch.tensor(weight.steps, dtype=torch.float64)
    codes = torch.randint(weight.low, weight.high + 1, layer.weight.shape).double()
    layer.weight.data = (codes * steps.reshape(-1, *[1] * (codes.dim() - 1))).float()
    spread = layer.weight[0].numel() ** 0.5 * weight.high * source.high / 4
    layer.bias.data = (torch.round(torch.randn(len(layer.bias)).double() * spread) * steps * source.steps[0]).float()
    return layer


def integer_layer(layer: nn.Module, weight: Grid, target: Grid) -> nn.Module:
    """torch's integer module of a layer on its grids."""
    kinds = {nn.Conv2d: nnq.Conv2d, nn.Conv1d: nnq.Conv1d, nn.Linear: nnq.Linear}
    if isinstance(layer, nn.Linear):
        integer = nnq.Linear(layer.in_features, layer.out_features)
    else:
        names = ("kernel_size", "stride", "padding", "dilation", "groups")
        options = {name: getattr(layer, name) for name in names}
        integer = kinds[type(layer)](layer.in_channels, layer.out_channels, **options)
    if weight.axis is None:
        stored = torch.quantize_per_tensor(layer.weight.detach(), weight.steps[0], 0, torch.qint8)
    else:
        scales, zeros = torch.tensor(weight.steps), torch.zeros(len(weight.steps), dtype=torch.int64)
        stored = torch.quantize_per_channel(layer.weight.detach(), scales, zeros, 0, torch.qint8)
    integer.set_weight_bias(stored, layer.bias.detach())
    integer.scale, integer.zero_point = target.steps[0], zero_point_of(target)
    return integer


def saturates(engine: str, weight: Grid, source: Grid) -> bool:
    """Whether this processor adds pairs of these products in 16 bits; then no target allows the grids."""
    pair_sum = 2 * (source.high - source.low) * -weight.low
    return engine != "qnnpack" and PairSaturation().applies() and pair_sum > PairSaturation().limit


def output_grid(bits: int, layer: nn.Module, weight: Grid, source: Grid) -> Grid:
    spread = layer.weight[0].numel() ** 0.5 * weight.high * source.high * max(weight.steps) * source.steps[0]
    return Grid.power_of_two(bits, round(math.log2(spread + 1e-30)))


def check_layer(engine: str, layer: nn.Module, weight: Grid, source: Grid, *shape: int) -> None:
    """Assert that the integer layer and the float layer on grids agree, in both layouts."""
    grid_layer(layer, weight, source)
    target = output_grid(8, layer, weight, source)
    with quantized_engine(engine):
        integer = integer_layer(layer, weight, target)
        for channels_last in {False, len(shape) == 4}:
            x = random_on(source, *shape, channels_last=channels_last)
            kernel = integer(x).dequantize()
            with torch.no_grad():
                exact = layer.double()(x.dequantize().double())
            ours = arithmetic.requantize(exact, target.steps[0], target.low, target.high)
            assert torch.equal(kernel, ours)
            layer.float()


LAYERS = {
    "conv2d": (lambda: nn.Conv2d(19, 21, 3, padding=1), (3, 19, 7, 6)),
    "pointwise": (lambda: nn.Conv2d(32, 64, 1), (2, 32, 5, 5)),
    "stride 2": (lambda: nn.Conv2d(16, 32, 3, stride=2, padding=1), (1, 16, 9, 9)),
    "depthwise": (lambda: nn.Conv2d(24, 24, 3, padding=1, groups=24), (2, 24, 8, 7)),
    "depthwise, fbgemm's general path": (lambda: nn.Conv2d(130, 130, 3, padding=1, groups=130), (2, 130, 6, 6)),
    "grouped": (lambda: nn.Conv2d(12, 18, 3, groups=3), (2, 12, 6, 6)),
    "conv1d": (lambda: nn.Conv1d(9, 14, 3, padding=1), (2, 9, 13)),
    "linear": (lambda: nn.Linear(70, 33), (5, 70)),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_round_once_half_to_even_at_every_pair_of_bits(engine, per_channel, layer):
    torch.manual_seed(0)
    make, shape = LAYERS[layer]
    channels = make().weight.shape[0]
    for weight_bits in range(2, 9):
        exponents = torch.randint(-3, 1, (channels,)).tolist() if per_channel else -1
        weight = Grid.power_of_two(weight_bits, exponents, axis=0 if per_channel else None)
        for activation_bits in range(2, 9):
            source = Grid.power_of_two(activation_bits, 1, signed=activation_bits % 2 == 0)
            if not saturates(engine, weight, source):
                check_layer(engine, make(), weight, source, *shape)


@pytest.mark.parametrize("engine", ENGINES)
def test_accumulators_past_two_to_the_24_are_rounded_to_float32_first(engine):
    # 2**25 + 2**17 + 1: float32 drops the last unit, and what is left is a tie of the output's grid
    layer = nn.Linear(1042, 1)
    layer.weight.data = torch.tensor([[127.0] * 1040 + [20.0, 1.0]])
    layer.bias.data.zero_()
    values = torch.tensor([[255.0] * 1040 + [255.0, 5.0]])
    source, weight = Grid(8, (1.0,), signed=False), Grid(8, (1.0,))
    target = Grid(8, (2.0**18,), signed=False)
    exact = layer.double()(values.double()).detach()
    assert exact.item() == 2**25 + 2**17 + 1
    assert not accumulates_exactly(layer.weight, 255)
    if saturates(engine, weight, source):
        return
    with quantized_engine(engine):
        kernel = integer_layer(layer.float(), weight, target)(from_codes(values, source.steps[0], 0)).dequantize()
    assert kernel.item() == 128 * 2**18
    assert torch.equal(arithmetic.requantize(exact, target.steps[0], target.low, target.high), kernel)


def test_the_exactness_bound_is_the_l1_norm_times_the_largest_input_plus_the_bias():
    codes = torch.full((2, 256), 127)
    assert accumulates_exactly(codes, 255)
    assert accumulates_exactly(codes, 255, torch.tensor([0, 2**24 - 127 * 256 * 255]))
    assert not accumulates_exactly(codes, 255, torch.tensor([0, 2**24 - 127 * 256 * 255 + 1]))
    assert not accumulates_exactly(torch.full((1, 600), 127), 255)
    assert accumulates_exactly(torch.full((600, 1), 127), 255)
    assert not accumulates_exactly(torch.full((600, 1), 127), 255, axis=1)

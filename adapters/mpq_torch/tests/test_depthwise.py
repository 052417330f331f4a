"""Wide depthwise convolutions saturate on x86 unless they run in slices."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.ao.quantization import QConfig, QConfigMapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from mpq_plugins.grid import Grid
from mpq_plugins.hardware.saturation import PairSaturation
from mpq_torch.modules.depthwise import SlicedDepthwise, saturates, sliced_grids
from mpq_torch.tests import kernel_arithmetic as arithmetic
from mpq_torch.torch_ao.engine import quantized_engine
from mpq_torch.torch_ao.observers import GridObserver, GridPerChannelObserver, GridWeightObserver

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*"),
    pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated.*"),
]
CHANNELS = 200
# without VNNI the first two saturate at 8 x 8 bits whatever the form of the layer, and targets refuse it
EXACT_ENGINES = ["qnnpack"] if PairSaturation().applies() else ["x86", "onednn", "qnnpack"]
SOURCE, TARGET = Grid.power_of_two(8, 4, signed=False), Grid.power_of_two(8, 6)


def wide_layer(weight: Grid, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(0)
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, stride=2, padding=1, groups=CHANNELS, bias=bias)
    codes = torch.randint(weight.low, weight.high + 1, layer.weight.shape)
    layer.weight.data = torch.from_numpy(weight.dequantize(codes.numpy())).float()
    if bias:
        unit = torch.tensor(weight.steps) * SOURCE.steps[0]
        layer.bias.data = torch.round(torch.randn(CHANNELS) * 1000) * unit
    return layer


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("engine", EXACT_ENGINES)
def test_slices_compute_the_8_bit_layer_exactly(engine, relu, per_channel):
    exponents = torch.randint(-2, 2, (CHANNELS,)).tolist() if per_channel else 0
    weight = Grid.power_of_two(8, exponents, axis=0 if per_channel else None)
    layer = wide_layer(weight)
    values = torch.randint(0, 256, (2, CHANNELS, 9, 8)) * SOURCE.step
    tail = nn.ReLU() if relu else nn.Identity()
    model = nn.Sequential(nn.Identity(), SlicedDepthwise(layer), tail).eval()

    def qconfig(activation: Grid, grid: Grid) -> QConfig:
        observer = GridWeightObserver if grid.axis is None else GridPerChannelObserver
        return QConfig(GridObserver.with_args(grid=activation), observer.with_args(grid=grid))

    mapping = QConfigMapping().set_module_name("0", qconfig(SOURCE, weight))
    for name in ("1", "2"):
        mapping.set_module_name(name, qconfig(TARGET, weight))
    if per_channel:
        for index, grid in enumerate(sliced_grids(weight)):
            mapping.set_module_name(f"1.slices.{index}", qconfig(TARGET, grid))
    with quantized_engine(engine), torch.no_grad():
        integer = convert_fx(prepare_fx(model, mapping, (values,)))
        y = integer(values)
    assert [n.target for n in integer.graph.nodes].count("dequantize") == 1
    exact = layer.double()(values.double()).detach()
    expected = arithmetic.requantize(exact, TARGET.step, TARGET.low, TARGET.high)
    assert torch.equal(y, expected.clamp(min=0) if relu else expected)


def test_slices_turn_back_into_the_layer():
    for bias in (True, False):
        layer = wide_layer(Grid.power_of_two(8, 0), bias)
        form = SlicedDepthwise(layer)
        assert form.sizes == (96, 96, 8)
        assert repr(form.whole()) == repr(layer)
        pairs = zip(form.whole().parameters(), layer.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("layer", "weight_bits", "source", "expected"),
    [
        (nn.Conv2d(128, 128, 3, groups=128), 8, SOURCE, True),
        (nn.Conv2d(128, 128, 3, groups=128), 8, Grid.power_of_two(8, 0), True),
        (nn.Conv2d(128, 128, 3, groups=128), 7, SOURCE, False),
        (nn.Conv2d(128, 128, 3, groups=128), 8, Grid.power_of_two(7, 0), False),
        (nn.Conv2d(100, 100, 3, groups=100), 8, SOURCE, False),
        (nn.Conv2d(128, 256, 3), 8, SOURCE, False),
        (nn.Conv1d(128, 128, 3, groups=128), 8, SOURCE, False),
    ],
)
def test_only_8_bit_products_of_more_than_100_channels_saturate(layer, weight_bits, source, expected):
    assert saturates(layer, Grid.power_of_two(weight_bits, 0), source) is expected

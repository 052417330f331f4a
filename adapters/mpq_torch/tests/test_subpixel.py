"""A transposed convolution in its sub-pixel form is the same layer, and exact on every engine."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.ao.quantization import QConfig, QConfigMapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from mpq_plugins.grid import Grid
from mpq_torch.modules.subpixel import SubpixelConvTranspose
from mpq_torch.tests import kernel_arithmetic as arithmetic
from mpq_torch.torch_ao.engine import quantized_engine
from mpq_torch.torch_ao.observers import GridObserver, GridWeightObserver

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*"),
    pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated.*"),
]
LAYERS = {
    "2x2 stride 2": lambda: nn.ConvTranspose2d(6, 4, 2, stride=2),
    "4x4 stride 2 padding 1": lambda: nn.ConvTranspose2d(4, 7, 4, stride=2, padding=1),
    "3x3 stride 2 with output padding": lambda: nn.ConvTranspose2d(5, 6, 3, 2, 1, 1, bias=False),
    "3x2 stride (2, 3)": lambda: nn.ConvTranspose2d(3, 4, (3, 2), stride=(2, 3), padding=(1, 0)),
    "3x3 stride 1": lambda: nn.ConvTranspose2d(3, 5, 3, padding=1),
    "1x1 stride 2 with output padding": lambda: nn.ConvTranspose2d(3, 4, 1, stride=2, output_padding=1),
    "groups": lambda: nn.ConvTranspose2d(6, 9, 4, stride=2, padding=1, groups=3),
    "depthwise": lambda: nn.ConvTranspose2d(6, 6, 3, stride=2, groups=6),
    "dilated": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, dilation=(2, 3)),
    "dilated groups": lambda: nn.ConvTranspose2d(4, 6, (2, 3), stride=(3, 1), groups=2, dilation=2),
    "dilated 1d": lambda: nn.ConvTranspose1d(5, 3, 3, stride=2, dilation=4),
    "1d": lambda: nn.ConvTranspose1d(5, 3, 5, stride=3, padding=2, output_padding=1),
}


def image(layer: nn.Module) -> torch.Tensor:
    return torch.randn(2, layer.in_channels, *[5, 4][: len(layer.stride)])


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_the_sub_pixel_form_computes_the_transposed_convolution_and_turns_back_into_it(make):
    torch.manual_seed(0)
    layer = make().double()
    form = SubpixelConvTranspose(layer).double()
    x = image(layer).double()
    assert form(x).shape == layer(x).shape
    assert torch.allclose(form(x), layer(x), rtol=0, atol=1e-12)
    again = form.transposed().double()
    assert repr(again) == repr(layer)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), layer.parameters(), strict=True))


@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_it_converts_without_a_float_op_and_rounds_once_half_to_even(engine, make):
    torch.manual_seed(0)
    layer = make()
    source, weight, target = Grid.power_of_two(8, 1), Grid.power_of_two(4, 0), Grid.power_of_two(8, 3)
    layer.weight.data = torch.from_numpy(weight.project(layer.weight.detach().numpy() * 3))
    if layer.bias is not None:
        unit = source.step * weight.step
        layer.bias.data = torch.round(layer.bias.data / unit) * unit
    x = torch.from_numpy(source.project(image(layer).numpy()))
    on_source, on_target = (
        QConfig(activation=GridObserver.with_args(grid=g), weight=GridWeightObserver.with_args(grid=weight))
        for g in (source, target)
    )
    model = nn.Sequential(nn.Identity(), SubpixelConvTranspose(layer)).eval()
    mapping = QConfigMapping().set_module_name("0", on_source).set_module_name("1", on_target)
    with quantized_engine(engine), torch.no_grad():
        integer = convert_fx(prepare_fx(model, mapping, (x,)))
        y = integer(x)
    last = list(integer.graph.nodes)[-2]
    assert last.target == "dequantize"
    assert [n.target for n in integer.graph.nodes].count("dequantize") == 1
    exact = layer.double()(x.double()).detach()
    assert torch.equal(y, arithmetic.requantize(exact, target.step, target.low, target.high))

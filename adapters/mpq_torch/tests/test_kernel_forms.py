"""Layers and ops that a kernel of torch computes wrongly are written in a form that it computes exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mpq_torch
from integration_tests.bits import widest
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins import Grid, GridError
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_torch import fx
from mpq_torch.modules.padded import PaddedConvolution
from mpq_torch.modules.subpixel import SubpixelConvTranspose
from mpq_torch.plugin import commands
from mpq_torch.reader.fitting import read_quantized
from mpq_torch.torch_ao.kernel_forms import kernel_layers

ENGINES = ["x86", "onednn", "qnnpack"]
LAYERS = {
    "conv2d": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "depthwise conv2d": lambda: nn.Conv2d(4, 4, 3, padding=(2, 1), dilation=(2, 1), groups=4),
    "conv2d without padding": lambda: nn.Conv2d(4, 4, 1),
    "transposed conv2d": lambda: nn.ConvTranspose2d(4, 4, 2, 2),
    "padded transposed conv2d": lambda: nn.ConvTranspose2d(4, 4, 3, padding=1, bias=False),
}


class CalledTwice(nn.Module):
    """One layer on values that are never negative, and again on its own output, which is."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first, self.layer = nn.Conv2d(3, 4, 1), layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(torch.relu(self.first(x))))


def called_twice(kind: str, engine: str):
    """The model, an input, and a recipe by which both calls read grids of one step, and of two zero points."""
    torch.manual_seed(0)
    model, x = CalledTwice(LAYERS[kind]()).eval(), torch.randn(4, 3, 6, 6)
    recipe = clipping_recipe(model, x, f"torch-{engine}", 6, 8)
    same = {"first": Grid.power_of_two(8, 1, signed=False)}
    same |= dict.fromkeys(["layer", "layer__call1"], Grid.power_of_two(8, 0))
    return model, x, recipe.with_grids(same)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_that_is_called_on_grids_of_two_zero_points_is_exact(kind, engine):
    model, x, recipe = called_twice(kind, engine)
    on_grid = fx.constrain(model, recipe, example_inputs=x)
    converted = fx.quantize(on_grid, recipe, x)
    fx.verify(converted, fx.simulate(on_grid, recipe), [x, x[:1]]).raise_if_different()


def forms(quantized: QuantizedGraph, engine: str) -> dict[str, str]:
    return {name: type(layer).__name__ for name, layer in kernel_layers(quantized, engine).items()}


@pytest.mark.parametrize(
    ("kind", "form"),
    {
        "conv2d": "PaddedConvolution",
        "conv2d without padding": "",
        "transposed conv2d": "SubpixelConvTranspose",
    }.items(),
)
def test_only_qnnpack_keeps_the_padding_of_the_first_call(kind, form):
    model, x, recipe = called_twice(kind, "qnnpack")
    _, quantized = read_quantized(model, recipe, (x,))
    assert forms(quantized, "qnnpack") == ({"layer": form} if form else {})
    _, alike = read_quantized(model, recipe.with_grids({"first": Grid.power_of_two(8, 0)}), (x,))
    assert forms(alike, "qnnpack") == {}
    if form == "PaddedConvolution":
        assert forms(quantized, "x86") == forms(quantized, "onednn") == {}


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if "transposed" not in kind])
def test_a_convolution_that_is_padded_before_computes_the_same_and_turns_back_into_it(kind):
    layer, x = LAYERS[kind](), torch.randn(2, 4, 6, 6)
    form = PaddedConvolution(layer)
    assert torch.equal(form(x), layer(x))
    back = form.whole()
    assert str(back) == str(layer)
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), layer.parameters(), strict=True))


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if "transposed" in kind])
def test_a_transposed_convolution_that_is_padded_before_computes_the_same_and_turns_back_into_it(kind):
    layer, x = LAYERS[kind](), torch.randn(2, 4, 6, 6, dtype=torch.float64)
    layer.double()
    form = SubpixelConvTranspose(layer, pads_before=True).double()
    assert torch.allclose(form(x), layer(x), atol=1e-6)
    back = form.transposed()
    assert str(back) == str(layer)


class Pooled(nn.Module):
    """The mean of an image beside the image itself, as segmentation networks have it."""

    def __init__(self, size: int | None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.up = nn.Upsample(size=size) if size else nn.Upsample(scale_factor=(6.0, 6.0))
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(x)
        return self.last(torch.cat([y, self.up(nn.functional.adaptive_avg_pool2d(y, 1))], 1))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [6, None])
def test_an_image_of_one_element_is_repeated_channel_by_channel(size, engine):
    torch.manual_seed(0)
    model, x = Pooled(size).eval(), torch.randn(4, 3, 6, 6)
    recipe = clipping_recipe(model, x, f"torch-{engine}", 6, 8)
    on_grid = fx.constrain(model, recipe, example_inputs=x)
    fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe), [x, x[:1]]).raise_if_different()


def test_the_site_that_differs_first_is_named_where_a_layer_in_parts_is_called_again():
    model, x, recipe = called_twice("conv2d", "qnnpack")
    on_grid = fx.constrain(model, recipe, example_inputs=x)
    converted = fx.quantize(on_grid, recipe, x)
    other = recipe.with_grids(dict.fromkeys(["layer", "layer__call1"], Grid.power_of_two(8, 1)))
    assert fx.verify(converted, fx.simulate(on_grid, other), x).first_differing_site == "layer"


class WithConstant(nn.Module):
    """A sum with a constant of one sample, on either side."""

    def __init__(self, first: bool) -> None:
        super().__init__()
        self.layer, self.first = nn.Conv2d(3, 4, 1), first
        self.constant = nn.Parameter(torch.randn(1, 4, 6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return self.constant + y if self.first else y + self.constant


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("first", [True, False])
def test_a_sum_with_a_constant_is_rounded_alike_whatever_the_number_of_samples(first, engine):
    torch.manual_seed(0)
    model, x = WithConstant(first).eval(), torch.randn(9, 3, 6, 6)
    recipe = clipping_recipe(model, x, f"torch-{engine}", widest(f"torch-{engine}"), 8)
    recipe = recipe.with_grids({"add": Grid.power_of_two(8, 3)})  # coarser than its operands, so that ties are many
    on_grid = fx.constrain(model, recipe, example_inputs=x)
    converted, simulated = fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe)
    fx.verify(converted, simulated, [x, x[:1]]).raise_if_different()
    assert torch.equal(simulated(x)[:1], simulated(x[:1]))
    program = mpq_torch.integers(on_grid, recipe, x)
    mpq_torch.verify_integers(program, on_grid, recipe, [x, x[:1]]).raise_if_different()


class BelowZero(nn.Module):
    """Nothing but values below zero, of values that are never negative."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.clamp(torch.relu(self.first(x)), max=-0.75))


@pytest.mark.parametrize(
    "target", ["torch-x86", "torch-onednn", "torch-qnnpack", "torch-pt2e", "onnxruntime", "litert-po2"]
)
def test_a_clamp_that_ends_below_zero_is_exact_and_near_the_float_model(target):
    torch.manual_seed(0)
    model, x = BelowZero().eval(), torch.randn(4, 3, 6, 6)
    recipe = fx.search(model, x, target, weight_bits=widest(target), activation_bits=8, progress=False)
    on_grid = fx.constrain(model, recipe, x)
    commands.verify(on_grid, recipe, [(x,)]).raise_if_different()
    commands.integers(on_grid, recipe, [(x,)])[1].raise_if_different()
    with torch.no_grad():
        assert torch.allclose(fx.simulate(on_grid, recipe)(x), model(x), atol=0.05)


class Residual(nn.Module):
    """A sum of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x) + self.b(x)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("exponent", [-15, -14, 7, 8])
def test_a_sum_beyond_what_qnnpack_takes_is_refused_by_site_and_numbers_and_others_are_exact(exponent, engine):
    torch.manual_seed(0)
    model, x = Residual().eval(), torch.randn(4, 3, 6, 6)
    recipe = clipping_recipe(model, x, f"torch-{engine}", widest(f"torch-{engine}"), 8)
    recipe = recipe.with_grids(
        {"a": Grid.power_of_two(8, exponent), **dict.fromkeys(["b", "add"], Grid.power_of_two(8, 0))}
    )
    if engine == "qnnpack" and exponent in (-15, 8):
        numbers = {-15: "3.05176e-05 times .* smaller", 8: "256 times .* larger"}[exponent]
        with pytest.raises(GridError, match=rf"site 'add': the step of its operand 'a' is {numbers} threshold"):
            fx.constrain(model, recipe, example_inputs=x)
        return
    on_grid = fx.constrain(model, recipe, example_inputs=x)
    fx.verify(fx.quantize(on_grid, recipe, x), on_grid, x, recipe).raise_if_different()

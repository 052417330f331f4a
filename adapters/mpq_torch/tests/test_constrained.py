"""Weights, biases and ranges of a constrained model, and the layers that are put into another form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins import Grid, Recipe
from mpq_plugins.errors import NonFiniteValues, TargetError
from mpq_plugins.hardware.saturation import PairSaturation
from mpq_plugins.search.kept import Kept
from mpq_torch import fx
from mpq_torch.modules.depthwise import SlicedDepthwise
from mpq_torch.modules.subpixel import SubpixelConvTranspose
from mpq_torch.modules.written import Clamp, GridClamp
from mpq_torch.tests.networks import Shared, Upsampler, network

# without VNNI no target allows the 8 x 8 bits at which the sliced kernel matters
SATURATES = PairSaturation().applies()


def recipe_for(model, example, target="torch-x86", weight_bits=6, activation_bits=8, per_channel=False, **own):
    """A recipe of threshold 4 for activations and 1 for weights; own: grids by site."""
    sites = fx.inventory(model, example)
    grids = {}
    for site in sites:
        if site.kind == "activation":
            grids[site.name] = Grid.power_of_two(activation_bits, 2, site.signed)
        elif per_channel:
            exponents = [c % 3 - 1 for c in range(site.channels)]
            grids[site.name] = Grid.power_of_two(weight_bits, exponents, axis=site.channel_axis)
        else:
            grids[site.name] = Grid.power_of_two(weight_bits, 0)
    return Recipe.from_inventory(sites, {**grids, **own}, target, "by hand")


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("layer", [nn.Linear(5, 4), nn.Conv1d(5, 4, 1), nn.ConvTranspose1d(5, 4, 1)])
def test_weights_and_biases_go_to_the_nearest_values_that_they_may_take(layer, per_channel):
    model, x = nn.Sequential(layer).eval(), torch.randn((2, 5) if isinstance(layer, nn.Linear) else (2, 5, 1))
    recipe = recipe_for(model, x, "onnxruntime", weight_bits=3, activation_bits=5, per_channel=per_channel)
    found, grid = fx.constrain(model, recipe).get_submodule("0"), recipe["0.weight"]
    axis = 1 if isinstance(layer, nn.ConvTranspose1d) else 0
    weight = np.moveaxis(layer.weight.detach().double().numpy(), axis, 0)
    rounded = np.moveaxis(found.weight.detach().double().numpy(), axis, 0)
    for channel in range(4):
        step = grid.steps[channel if per_channel else 0]
        np.testing.assert_array_equal(rounded[channel], np.clip(np.rint(weight[channel] / step), -4, 3) * step)
        unit = step * recipe["input"].steps[0]
        assert found.bias[channel].item() == round(layer.bias[channel].item() / unit) * unit


def test_the_bias_of_a_shared_layer_lies_on_the_accumulators_of_all_its_inputs():
    model, x = network(Shared)
    own = {"x": Grid(8, (2.0**-3,)), "conv": Grid(8, (2.0**-6,), signed=False)}
    own["conv__call1"] = own["conv"]
    recipe = recipe_for(model, x, **own)
    bias = fx.constrain(model, recipe).conv.bias.detach().double().numpy()
    for name in ("x", "conv"):
        codes = bias / (own[name].steps[0] * recipe["conv.weight"].steps[0])
        np.testing.assert_array_equal(codes, np.rint(codes))


def test_nan_is_refused_by_the_name_of_its_weight():
    model, x = nn.Sequential(nn.Linear(1, 1)).eval(), torch.randn(2, 1)
    recipe = recipe_for(model, x)
    model[0].weight.data.fill_(float("nan"))
    with pytest.raises(NonFiniteValues, match="0: 1 of 1 weights are NaN"):
        fx.constrain(model, recipe, example_inputs=x)


def test_a_layer_without_a_bias_is_given_one_where_its_rounding_is_corrected():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 3, bias=False)).eval(), torch.rand(64, 8)
    corrected = fx.constrain(model, recipe_for(model, x, weight_bits=2), x)
    assert corrected.get_submodule("0").bias.dtype == torch.float32
    assert corrected.get_submodule("0").bias.any()


@pytest.mark.parametrize(
    ("low", "high", "step", "expected"),
    [(0.0, 6.0, 4.0, (0.0, 4.0)), (0.0, 6.0, 0.25, (0.0, 3.75)), (-1.0, 1.0, 0.75, (-0.75, 0.75))],
)
def test_the_bounds_of_a_clamp_move_inwards_onto_the_grid(low, high, step, expected):
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Hardtanh(low, high), nn.Conv2d(2, 1, 1)).eval()
    own = {"0": Grid(4, (step,), signed=low < 0)}
    on_grid = fx.constrain(model, recipe_for(model, torch.randn(2, 1, 3, 3), **own))
    found = [m for m in on_grid.modules() if type(m) is Clamp]
    assert [(m.low, m.high, m.images) for m in found] == [(*expected, True)]


def test_grids_of_fewer_bits_than_their_container_are_clamped_behind_the_fused_relu():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    recipe = recipe_for(model, torch.randn(2, 3), activation_bits=3, **{"2": Grid.power_of_two(8, 0)})
    on_grid = fx.constrain(model, recipe)
    order = [str(n.target) for n in on_grid.graph.nodes if n.op == "call_module"]
    assert order == ["input__input", "input__clamp", "0", "0__relu", "0__clamp", "2"]
    bounds = {name: (m.low, m.high) for name, m in on_grid.named_modules() if isinstance(m, GridClamp)}
    assert bounds == {"input__clamp": (-4.0, 3.0), "0__clamp": (0.0, 3.5)}


@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
def test_a_clamp_behind_a_flatten_is_exact(engine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.ReLU6(), nn.Linear(12, 2)).eval()
    x = torch.randn(3, 2, 4, 4) * 4
    recipe = recipe_for(model, x, f"torch-{engine}", 4, 5)
    on_grid = fx.constrain(model, recipe)
    fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe), x).raise_if_different()


@pytest.mark.parametrize(("engine", "replaced"), [("x86", True), ("onednn", True), ("qnnpack", False)])
def test_transposed_convolutions_are_replaced_where_their_kernels_are_wrong(engine, replaced):
    model, x = network(Upsampler)
    on_grid = fx.constrain(model, recipe_for(model, x, f"torch-{engine}", 4))
    assert isinstance(on_grid.up, SubpixelConvTranspose) is replaced


class WideDepthwise(nn.Module):
    def __init__(self, channels=104):
        super().__init__()
        self.wide = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.last = nn.Conv2d(channels, 2, 1)

    def forward(self, x):
        return self.last(F.relu(self.wide(x)))


def loud(channels=104):
    """A wide depthwise network whose products all are as large as they can be."""
    model = WideDepthwise(channels).eval()
    nn.init.constant_(model.wide.weight, 1.0)
    return model, torch.full((2, channels, 5, 5), 3.99)


@pytest.mark.parametrize(
    ("target", "channels", "bits", "sliced"),
    [
        ("torch-x86", 104, 8, True),
        ("torch-x86", 104, 6, False),
        ("torch-x86", 100, 8, False),
        ("torch-qnnpack", 104, 8, False),
        ("torch-onednn", 104, 8, False),
    ],
)
def test_wide_depthwise_layers_are_sliced_where_a_kernel_would_saturate(target, channels, bits, sliced):
    model, x = loud(channels)
    recipe = recipe_for(model, x, target, bits)
    if SATURATES and bits == 8 and target != "torch-qnnpack":
        with pytest.raises(TargetError, match="past the 32767"):
            fx.constrain(model, recipe)
        return
    on_grid = fx.constrain(model, recipe)
    assert isinstance(on_grid.wide, SlicedDepthwise) is sliced


@pytest.mark.parametrize("per_channel", [False, True])
def test_a_wide_depthwise_layer_at_8_bits_is_exact_on_x86_and_stays_as_it_is(per_channel):
    model, x = loud()
    recipe = recipe_for(model, x, weight_bits=8, per_channel=per_channel, wide=Grid.power_of_two(8, 6, signed=False))
    if SATURATES:
        with pytest.raises(TargetError, match="past the 32767"):
            fx.constrain(model, recipe)
        return
    once = fx.constrain(model, recipe, [x])
    twice = fx.constrain(once, recipe, [x])
    assert isinstance(once.wide, SlicedDepthwise)
    assert {n for n, _ in once.named_modules()} == {n for n, _ in twice.named_modules()}
    for name, value in once.state_dict().items():
        assert torch.equal(value, twice.state_dict()[name]), name
    for on_grid in (once, twice):
        int8 = fx.quantize(on_grid, recipe, x)
        noise = torch.randn(2, 104, 5, 5) * 3
        fx.verify(int8, fx.simulate(on_grid, recipe), [x, noise]).raise_if_different()


def test_what_a_float_part_gives_holds_on_to_nothing_that_came_before_it(monkeypatch):
    kept = []
    add = Kept.add
    monkeypatch.setattr(Kept, "add", lambda own, name, values: add(own, name, (kept.append(v) or v for v in values)))
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)).eval(), torch.randn(16, 4)
    recipe = fx.search(model, x, "torch-x86", weight_bits=4, activation_bits=8, progress=False)
    assert recipe.float_ops == ("1",)
    fx.constrain(model, recipe, x)
    assert len(kept) > 6
    assert not any(value.requires_grad for value in kept)

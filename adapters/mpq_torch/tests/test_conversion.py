"""What convert returns, where it restores the engine, and what check_converted counts as left in float."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from mpq_plugins import Grid, Recipe
from mpq_plugins.errors import NothingQuantized, TargetError
from mpq_plugins.recipe.site_grid import SiteGrid
from mpq_torch import fx
from mpq_torch.tests.networks import Mobile, Residual, network
from mpq_torch.torch_ao.conversion import check_converted, convert
from mpq_torch.torch_ao.engine import engine_of, quantized_engine


@pytest.fixture(scope="module")
def constrained():
    model, x = network(Residual)
    recipe = fx.search(model, [x], "torch-qnnpack", weight_bits=4, activation_bits=8)
    return fx.constrain(model, recipe), recipe, x


def weights(*paths):
    grid = Grid.power_of_two(4, 0)
    return Recipe([SiteGrid(f"{p}.weight", "weight", "linear", (1, 1), grid) for p in paths], "torch-x86", "by hand")


def test_the_converted_model_belongs_to_its_engine_and_the_one_that_was_set_is_back(constrained):
    on_grid, recipe, x = constrained
    before = torch.backends.quantized.engine
    converted = convert(on_grid, recipe, (x,), "qnnpack")
    assert torch.backends.quantized.engine == before
    assert engine_of(converted) == "qnnpack"
    with quantized_engine("onednn"), pytest.raises(TargetError, match="'qnnpack', and 'onednn' is set"):
        converted(x)
    with quantized_engine("qnnpack"):
        assert converted(x).shape == (6, 5)


def test_the_engine_is_back_after_a_conversion_that_failed(constrained):
    _, recipe, x = constrained
    before = torch.backends.quantized.engine
    with pytest.raises(NothingQuantized):
        convert(nn.Sequential(nn.Linear(3, 2)).eval(), recipe, (x,), "qnnpack")
    assert torch.backends.quantized.engine == before


def test_conversion_is_quiet_about_the_deprecations_of_torch_ao(constrained):
    on_grid, recipe, x = constrained
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(on_grid, recipe, (x,), "qnnpack")


def test_the_constrained_model_stays_float_and_can_be_converted_again(constrained):
    on_grid, recipe, x = constrained
    with quantized_engine("qnnpack"):
        first = convert(on_grid, recipe, (x,), "qnnpack")(x)
        assert torch.equal(convert(on_grid, recipe, (x[:1],), "qnnpack")(x), first)
    assert on_grid(x).dtype == torch.float32


def test_every_layer_of_the_recipe_is_an_integer_kernel_and_no_float_layer_is_left():
    model, x = network(Mobile)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=4, activation_bits=8)
    converted = fx.quantize(model, recipe, x)
    modules = dict(converted.named_modules())
    for entry in recipe.weights:
        layer = modules[entry.site.removesuffix(".weight")]
        assert "torch.ao.nn" in type(layer).__module__
        assert layer.weight().dtype == torch.qint8
    assert not any(type(m) in (nn.Conv2d, nn.Linear) for m in modules.values())


def test_layers_in_float_are_listed_and_told_from_a_model_in_which_nothing_was_quantized():
    model = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Identity()})
    check_converted(model, weights("b"))
    with pytest.raises(NothingQuantized, match=r"^part of the model stayed float: a\. convert_fx leaves"):
        check_converted(model, weights("a", "b"))
    with pytest.raises(NothingQuantized, match=r"^nothing was quantized: a, gone\."):
        check_converted(model, weights("a", "gone"))


def test_a_float_slice_of_a_layer_counts_and_a_long_list_is_cut():
    model = nn.ModuleDict({f"l{i}": nn.Sequential(nn.Conv2d(1, 1, 1)) for i in range(11)})
    with pytest.raises(NothingQuantized, match="l0, l1, l2, l3, l4, l5, l6, l7 and 3 more"):
        check_converted(model, weights(*model))


def test_an_example_is_taken_from_the_calibration_or_from_the_recipe():
    model, x = network(Residual)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=4, activation_bits=8, progress=False)
    nearest, compensated = fx.quantize(model, recipe), fx.quantize(model, recipe, calibration=iter([x]))
    fx.verify(nearest, model, x, recipe).raise_if_different()
    fx.verify(compensated, fx.constrain(model, recipe, [x]), x, recipe).raise_if_different()
    given = fx.quantize(model, recipe, x)
    with quantized_engine("x86"):
        assert torch.equal(nearest(x), given(x))

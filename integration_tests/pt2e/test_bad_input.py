"""What a hurried person does wrong with torchao, and the sentence that they get."""

import copy

import pytest
import torch
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e
from torchao.quantization.pt2e.quantizer.composable_quantizer import ComposableQuantizer
from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
    X86InductorQuantizer,
    get_default_x86_inductor_quantization_config,
)

import mpq_plugins as mpq
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_torch import fx, pt2e
from mpq_torch.tests.networks import Branches, Residual, Shared, Upsampler, network

pytestmark = pytest.mark.filterwarnings("ignore")


def exported(model, x):
    return torch.export.export(model, (x,)).module()


class Doubting(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_model_that_does_not_export_names_the_module_and_torch_s_reason():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.ReLU(), Doubting()))
    with pytest.raises(mpq.ModelError, match=r"stopped in module '1\.1' \(Doubting\) at .*data-dependent") as caught:
        pt2e.export(model, (torch.randn(2, 3, 4, 4),))
    assert caught.value.__cause__ is not None


def test_a_batch_size_that_the_model_fixes_stays_fixed_and_the_graph_says_so():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x.reshape(4, 4))

    model, x = Fixed().eval(), torch.randn(4, 4)
    recipe = pt2e.search(model, [x], "torch-pt2e", weight_bits=4, activation_bits=8)
    converted = pt2e.quantize(model, recipe, x)
    pt2e.verify(converted, pt2e.simulate(model, recipe, example_inputs=x), x).raise_if_different()
    with pytest.raises((AssertionError, RuntimeError), match="4"):
        pt2e.convert(pt2e.export(model, (x,)), recipe)(x[:3])


def test_a_clash_with_another_quantizer_names_the_node_and_the_site():
    model, x = network(Residual)
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 8)
    other = X86InductorQuantizer().set_global(get_default_x86_inductor_quantization_config())
    both = ComposableQuantizer([other, pt2e.RecipeQuantizer(recipe)])
    with pytest.raises(
        mpq.ModelError, match=r"node conv2d .* of site 'conv1' has an annotation from another quantizer"
    ):
        prepare_pt2e(exported(model, x), both)


def test_a_recipe_of_another_model_is_refused_with_the_sites():
    model, x = network(Residual)
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 8)
    other, y = network(Shared)
    with pytest.raises(mpq.RecipeMismatch, match=r"conv\.weight .* has no grid in the recipe, which has x, conv1"):
        prepare_pt2e(exported(other, y), pt2e.RecipeQuantizer(recipe))


def test_a_recipe_with_layers_that_the_graph_lacks_is_refused_with_the_layers():
    model, x = network(Residual)
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 8)
    with pytest.raises(mpq.RecipeMismatch, match=r"no layer for conv2\.weight, fc\.weight of the recipe"):
        prepare_pt2e(exported(First(model), x), pt2e.RecipeQuantizer(recipe))


class First(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.conv1, self.bn1 = model.conv1, model.bn1

    def forward(self, x):
        return torch.relu(self.bn1(self.conv1(x)))


def test_an_op_without_a_grid_in_front_of_a_layer_is_refused_by_name():
    class Squashed(nn.Module):
        def __init__(self, squash):
            super().__init__()
            self.a, self.b, self.squash = nn.Linear(4, 4), nn.Linear(4, 2), squash

        def forward(self, x):
            return self.b(torch.cumsum(self.a(x), 1) if self.squash else self.a(x))

    x = torch.randn(8, 4)
    recipe = pt2e.search(Squashed(False).eval(), [x], "torch-pt2e", weight_bits=4, activation_bits=8)
    with pytest.raises(mpq.UnsupportedOp, match=r"b reads cumsum \(aten\.cumsum\.default\), which has no grid"):
        prepare_pt2e(exported(Squashed(True).eval(), x), pt2e.RecipeQuantizer(recipe))


def test_a_batch_norm_that_stands_alone_needs_the_constrained_model():
    model, x = network(Branches)
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 8)
    with pytest.raises(mpq.UnsupportedOp, match=r"batch norm norm stands alone.* pt2e\.constrain"):
        prepare_pt2e(exported(model, x), pt2e.RecipeQuantizer(recipe))


def test_a_model_constrained_for_torch_ao_s_kernels_is_refused_where_its_layers_were_split():
    model, x = network(Upsampler)
    recipe = clipping_recipe(model, x, "torch-x86", 4, 8)
    with pytest.raises(mpq.RecipeMismatch, match=r"up\.conv\.weight .*pt2e\.constrain"):
        prepare_pt2e(exported(fx.constrain(model, recipe), x), pt2e.RecipeQuantizer(recipe))


def test_a_target_with_another_rounding_is_refused_by_op():
    model, x = network(Residual)
    recipe = clipping_recipe(model, x, "torch-qnnpack", 4, 8)
    with pytest.raises(mpq.TargetError, match=r"'torch-qnnpack' rounds add half_away, .* search for torch-pt2e"):
        pt2e.quantize(model, recipe, x)


def test_a_recipe_for_torchao_is_refused_by_fx_quantize_with_the_way_out():
    model, x = network(Residual)
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 8)
    with pytest.raises(mpq.TargetError, match=r"no quantized engine 'pt2e'; .* runs through mpq_torch\.pt2e"):
        fx.quantize(model, recipe, x)


def test_an_exported_graph_in_the_place_of_the_float_module_is_refused():
    model, x = network(Residual)
    with pytest.raises(mpq.ModelError, match="searches the float module"):
        pt2e.MixedPrecisionQuantizer("torch-pt2e", model=exported(model, x), calibration=[x])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, x, r: pt2e.convert(m, r), r"as pt2e\.export\(model, example_inputs\) gives it, and not Residual"),
        (lambda m, x, r: pt2e.convert(pt2e.constrain(m, r), r), r"as pt2e\.export.* and not a graph of torch\.fx"),
        (
            lambda m, x, r: pt2e.convert(pt2e.export(m.train(), x), r),
            r"in training mode.* call model\.eval\(\) before",
        ),
        (lambda m, x, r: pt2e.prepare_for_x86(m), "as pt2e.quantize or convert_pt2e gives it, and not Residual"),
        (lambda m, x, r: pt2e.lower_to_x86(m, (x,)), "as pt2e.quantize or convert_pt2e gives it, and not Residual"),
        (lambda m, x, r: pt2e.harden(m), "has no grids that are trained"),
        (lambda m, x, r: pt2e.RecipeQuantizer("recipe.json"), r"or Recipe\.load\(path\) read, and not a str"),
    ],
)
def test_what_is_not_exported_yet_is_refused_with_the_call_that_does(call, said):
    model, x = copy.deepcopy(network(Residual))
    recipe = clipping_recipe(model, x, "torch-pt2e", 4, 8)
    with pytest.raises(mpq.MPQError, match=said):
        call(model, x, recipe)

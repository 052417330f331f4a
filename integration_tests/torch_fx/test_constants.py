"""Arithmetic with constants gives exactly the numbers of the simulation: torch's engines, PT2E, ONNX, integers."""

import pytest
import torch

from integration_tests.bits import widest
from integration_tests.litert.cases import CASES
from integration_tests.onnx.saturation import check_products
from integration_tests.records.runtimes import check_runtime
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_torch import fx, integers, onnx, pt2e, verify_integers

EVERYWHERE = ["constants", "constants_of_channels", "differences_and_powers", "scaled_tokens"]
WITH_TABLES = ["numbers", "functions_by_hand"]
BITS = [(8, 8), (2, 3), (5, 6)]


def bits_on(target):
    """Those of weights and activations, as wide as this processor adds exactly."""
    return [(min(weight, widest(target)), activation) for weight, activation in BITS]


def case(name):
    torch.manual_seed(1)
    make, x = CASES[name]
    return make().eval(), x


@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_torch_s_engines_are_exact(name, engine):
    model, x = case(name)
    for weight_bits, activation_bits in bits_on(f"torch-{engine}"):
        recipe = clipping_recipe(model, x, f"torch-{engine}", weight_bits, activation_bits)
        on_grid = fx.constrain(model, recipe)
        int8 = fx.quantize(on_grid, recipe, x)
        fx.verify(int8, fx.simulate(on_grid, recipe), [x * 1.5, x[:1] * 3]).raise_if_different()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*EVERYWHERE, *WITH_TABLES])
def test_pt2e_is_exact(name):
    model, x = case(name)
    for weight_bits, activation_bits in BITS:
        recipe = clipping_recipe(model, x, "torch-pt2e", weight_bits, activation_bits)
        on_grid = pt2e.constrain(model, recipe)
        converted = pt2e.quantize(on_grid, recipe, x)
        pt2e.verify(converted, pt2e.simulate(on_grid, recipe), [x * 1.5, x[:1] * 3]).raise_if_different()


@pytest.mark.parametrize("name", [*EVERYWHERE, *WITH_TABLES])
def test_onnx_runtime_is_exact(name):
    model, x = case(name)
    for weight_bits, activation_bits in bits_on("onnxruntime"):
        recipe = clipping_recipe(model, x, "onnxruntime", weight_bits, activation_bits)
        check_products(recipe)
        content, simulated = onnx.export(model, recipe, x), fx.simulate(model, recipe)
        for optimized in (True, False):
            onnx.verify(content, simulated, [x * 1.5, x[:1] * 3], optimized=optimized).raise_if_different()


@pytest.mark.parametrize("name", [*EVERYWHERE, *WITH_TABLES])
def test_integers_are_exact(name):
    model, x = case(name)
    recipe = clipping_recipe(model, x, "generic-po2", 5, 6)
    on_grid = fx.constrain(model, recipe)
    verify_integers(integers(on_grid, recipe, x), on_grid, recipe, [x * 1.5, x * 4]).raise_if_different()


class FloatEnd(torch.nn.Module):
    """Arithmetic with constants behind a softmax, which stays float."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(6, 4)
        self.register_buffer("weights", torch.tensor([1.0, 0.3, 3.0, -4.0]))

    def forward(self, x):
        y = torch.softmax(self.fc(x), 1)
        return y * 100 - 1, (1 - y) / 3, -y, y * self.weights - self.weights / 7


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", ["torch-x86", "torch-pt2e", "onnxruntime", "litert-po2"])
def test_behind_a_float_op_it_stays_float_and_the_same(target):
    torch.manual_seed(0)
    model, x = FloatEnd().eval(), torch.randn(9, 6)
    recipe = clipping_recipe(model, x, target, 6, 7)
    assert [entry.site for entry in recipe.sites] == ["x", "fc.weight", "fc"]
    check_runtime(model, recipe, (x,))

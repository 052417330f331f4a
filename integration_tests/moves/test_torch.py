"""What moves elements gives the simulation's numbers, bit for bit, on every runtime of a torch model."""

import numpy as np
import pytest
import torch

from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins.integers import input_codes, run
from mpq_plugins.integers.tests.c_programs import c_outputs, joined
from mpq_torch import fx, integers, litert, onnx, pt2e, verify_integers
from mpq_torch.tests.moving_networks import NAMES, moved

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
@pytest.mark.parametrize("name", NAMES)
def test_torch_s_engines(name, engine):
    model, x = moved(name)
    recipe = clipping_recipe(model, x, f"torch-{engine}", 4, 5)
    on_grid = fx.constrain(model, recipe)
    int8 = fx.quantize(on_grid, recipe, x)
    fx.verify(int8, fx.simulate(on_grid, recipe), [x * 1.5, x[:1] * 3]).raise_if_different()


@pytest.mark.parametrize("name", NAMES)
def test_pt2e(name):
    model, x = moved(name)
    recipe = clipping_recipe(model, x, "torch-pt2e", 5, 6, True)
    on_grid = pt2e.constrain(model, recipe)
    converted = pt2e.quantize(on_grid, recipe, x)
    pt2e.verify(converted, pt2e.simulate(on_grid, recipe), [x * 1.5, x[:1] * 3]).raise_if_different()


@pytest.mark.parametrize("name", NAMES)
def test_onnxruntime(name):
    model, x = moved(name)
    recipe = clipping_recipe(model, x, "onnxruntime", 5, 6, True)
    content = onnx.export(model, recipe, x)
    for optimized in (True, False):
        onnx.verify(content, fx.simulate(model, recipe), [x * 1.5, x[:1] * 3], optimized=optimized).raise_if_different()


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-reference"])
@pytest.mark.parametrize("name", NAMES)
def test_litert(name, target):
    model, x = moved(name)
    recipe = clipping_recipe(model, x, target, 4, 5)
    litert.verify(litert.export(model, recipe, x), model, 1.5 * x, recipe).raise_if_different()


@pytest.mark.parametrize("name", NAMES)
def test_integers_in_numpy_and_in_c(name, tmp_path):
    model, x = moved(name)
    recipe = clipping_recipe(model, x, "generic-po2", 4, 5)
    on_grid = fx.constrain(model, recipe)
    program = integers(on_grid, recipe, x)
    verify_integers(program, on_grid, recipe, [x * 1.5]).raise_if_different()
    codes = input_codes(program, (x * 2).numpy())
    assert np.array_equal(c_outputs(program, codes, tmp_path / "c"), joined(program, run(program, codes)))


def test_the_simulation_is_the_model_where_grids_hold_its_numbers():
    """Whole weights and inputs on fine grids of eight bits: what comes out is the float model's own output."""
    for name in ("flip", "roll", "reflected", "pixels_out_of_channels", "splits_by_sizes"):
        model, _ = moved(name)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randint(-1, 2, parameter.shape, generator=generator))
        x = torch.randint(-1, 2, (4, 3, 6, 9), generator=generator).float()
        recipe = fx.search(model, [x], "generic-po2", weight_bits=8, activation_bits=8, progress=False)
        with torch.no_grad():
            assert torch.equal(fx.simulate(model, recipe)(x), model(x)), name

"""A vendor's own op, one record in one file, on every runtime that has tables, in both frameworks."""

from __future__ import annotations

import importlib
import math
from pathlib import Path

import numpy as np
import pytest

from mpq_plugins import Grid, Recipe
from mpq_plugins.plugins import PluginHost
from mpq_plugins.registry import process

SOURCE = Path(__file__).parent / "mpq_acme" / "src"
TABLES = ["generic-po2", "torch-pt2e", "onnxruntime", "litert-po2", "litert-po2-reference"]
BITS = (2, 5, 8)


@pytest.fixture(scope="module", autouse=True)
def acme():
    """The process as it is with mpq-acme's op installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SOURCE))
        host = PluginHost(environment={})
        patch.setattr(process, "_host", [host])
        host.register(importlib.import_module("mpq_acme.swoosh"), "acme-ops")
        yield


def swoosh(x):
    """In real numbers, by the standard library."""
    return x / (1 + math.exp(-1.5 * x)) + math.exp(-x * x) / 4


def torch_model():
    import torch
    from mpq_acme import torch_layers
    from torch import nn

    class Net(nn.Module):
        """The function twice, as a function and as a module, each behind a layer that passes its input on."""

        def __init__(self):
            super().__init__()
            self.first, self.last, self.act = nn.Linear(1, 1, False), nn.Linear(1, 1, False), torch_layers.Swoosh()

        def forward(self, x):
            return self.act(self.last(torch_layers.swoosh(self.first(x))))

    model = Net().eval()
    for layer in (model.first, model.last):
        torch.nn.init.ones_(layer.weight)
    return model


def recipe_for(inventory, target, bits):
    """Grids of so many bits; a layer has that of what it passes on."""
    grids = {"x": Grid.power_of_two(bits, 2)}
    for site in inventory:
        if site.kind == "weight":
            grids[site.name] = Grid.power_of_two(8 if target != "onnxruntime" else 7, 1)
        elif site.op == "swoosh" or site.name == "last":  # what layers pass on lies on their grids
            grids[site.name] = Grid.power_of_two(bits, 1)
        elif site.op != "input":
            grids[site.name] = Grid.power_of_two(bits, 2)
    return Recipe.from_inventory(inventory, grids, target, "by hand")


def codes(grid):
    return np.arange(grid.low, grid.high + 1, dtype=np.float32).reshape(-1, 1) * np.float32(grid.step)


def wanted(x, recipe, names):
    """The output code of every input, each function rounded once: half to even, and cut off at the ends."""
    inner, outer, between = (recipe[name] for name in names)

    def at(grid, value):
        return min(max(round(value / grid.step), grid.low), grid.high) * grid.step

    return np.array([at(outer, swoosh(at(between, at(inner, swoosh(float(v)))))) for v in x[:, 0]], np.float32)


@pytest.mark.parametrize("target", TABLES)
def test_a_torch_model_of_it_gives_every_code_of_its_table(target):
    import torch

    from mpq_torch import fx, integer_program, litert, onnx, pt2e

    model = torch_model()
    for bits in BITS:
        recipe = recipe_for(fx.inventory(model, torch.ones(2, 1), target=target), target, bits)
        assert [entry.op for entry in recipe.activations] == ["input", "linear", "swoosh", "linear", "swoosh"]
        x = torch.from_numpy(codes(recipe["x"]))
        simulated = fx.simulate(model, recipe)
        assert np.array_equal(simulated(x).numpy()[:, 0], wanted(x.numpy(), recipe, ("swoosh", "act", "last")))
        if target == "generic-po2":
            assert integer_program.verify_integers(integer_program.integers(model, recipe), model, recipe, [x]).exact
        elif target == "torch-pt2e":
            assert pt2e.verify(pt2e.quantize(model, recipe), simulated, x).exact
        elif target == "onnxruntime":
            assert onnx.verify(onnx.export(model, recipe), simulated, x).exact
        else:
            assert litert.verify(litert.export(model, recipe), simulated, x).exact


@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_a_runtime_without_tables_leaves_it_in_float_and_says_so(engine):
    import torch

    from mpq_torch import fx

    model, x = torch_model(), torch.linspace(-3, 3, 64).reshape(-1, 1)
    recipe = fx.search(model, x, f"torch-{engine}", weight_bits=7, activation_bits=8)
    assert recipe.float_ops == ("swoosh", "act")
    assert all(part.reason == f"target 'torch-{engine}' has no kernel for swoosh" for part in recipe.floats)
    assert fx.verify(fx.quantize(model, recipe), fx.simulate(model, recipe), x).exact


def test_it_trains_in_torch():
    import torch

    from mpq_torch import fx

    x = torch.linspace(-3, 3, 64).reshape(-1, 1)
    search = fx.Search(torch_model(), x, "generic-po2", method="hmq", weight_bits=4, activation_bits=8, steps=2)
    search.model(x).sum().backward()
    weight = next(parameter for name, parameter in search.model.named_parameters() if name.startswith("first"))
    assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize("target", ["generic-po2", "onnxruntime", "litert-po2"])
def test_a_keras_model_of_it_gives_every_code_of_its_table(target):
    from mpq_acme import keras_layers

    import mpq_tfmot
    from mpq_tfmot.keras import keras

    layers = keras.layers
    x = keras.Input((1,), name="x")
    y = layers.Dense(1, activation=keras_layers.swoosh, use_bias=False, kernel_initializer="ones", name="first")(x)
    y = layers.Dense(1, use_bias=False, kernel_initializer="ones", name="last")(y)
    model = keras.Model(x, keras_layers.Swoosh(name="act")(y))
    for bits in BITS:
        recipe = recipe_for(mpq_tfmot.inventory(model, target=target), target, bits)
        values = codes(recipe["x"])
        simulated = mpq_tfmot.simulate(model, recipe)
        expected = wanted(values, recipe, ("first.activation", "act", "last"))
        assert np.array_equal(simulated.predict(values)[:, 0], expected)
        if target == "generic-po2":
            program = mpq_tfmot.integers(model, recipe)
            assert mpq_tfmot.verify_integers(program, model, recipe, values).exact
            trained = mpq_tfmot.quantize(model, recipe)
            assert np.array_equal(trained.predict(values, verbose=0)[:, 0], expected)
        elif target == "onnxruntime":
            assert mpq_tfmot.onnx.verify(mpq_tfmot.onnx.export(model, recipe), simulated, values).exact
        else:
            assert mpq_tfmot.verify(mpq_tfmot.litert.export(model, recipe), simulated, values).exact

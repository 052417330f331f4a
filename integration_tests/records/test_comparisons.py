"""Functions of one element with comparisons in them are one table, a clamp or a leaky ReLU, on every runtime."""

import numpy as np
import pytest
import torch
from torch import nn

from integration_tests.bits import widest
from integration_tests.records.runtimes import check_runtime
from integration_tests.records.test_functions import Together, signed
from mpq_plugins import Grid, Recipe
from mpq_torch import fx

FUNCTIONS = {
    "torch.where": (lambda x: torch.where(x > 0.3, x, 0.1 - x), lambda x: x if x > 0.3 else 0.1 - x),
    "a tensor as one way": (lambda x: torch.where(x < 0.5, torch.zeros_like(x), x), lambda x: 0 if x < 0.5 else x),
    "a mask": (lambda x: x * (x.abs() >= 0.75), lambda x: x if abs(x) >= 0.75 else 0),
    "a mask as floats": (lambda x: (x > 1).to(x.dtype) - (x < -1).float(), lambda x: (x > 1) - (x < -1)),
    "two masks": (lambda x: x * ((x > -1) & ~(x > 1.0)).float(), lambda x: x if -1 < x <= 1 else 0),
    "masked_fill": (lambda x: x.masked_fill(x < -0.5, 0.25), lambda x: 0.25 if x < -0.5 else x),
    "whole numbers": (lambda x: (x * 3).int().float() / 2, lambda x: np.trunc(x * 3) / 2),
    "what is left over": (lambda x: torch.remainder(x, 0.75), lambda x: x - 0.75 * np.floor(x / 0.75)),
    "a step": (lambda x: torch.heaviside(x, torch.tensor(0.5)) + x // 0.5, lambda x: np.heaviside(x, 0.5) + x // 0.5),
    "a ReLU": (lambda x: x * (x > 0), lambda x: max(x, 0)),
    "a leaky ReLU": (lambda x: torch.where(x > 0, x, 0.125 * x), lambda x: x if x > 0 else x / 8),
}
"""What torch calls them, and what they are in real numbers."""


@pytest.mark.parametrize("target", ["generic-po2", "litert-po2"])
def test_every_code_is_the_function_rounded_once(target):
    model, source = Together([torch_s for torch_s, _ in FUNCTIONS.values()]).eval(), Grid.power_of_two(8, 1)
    x = torch.arange(source.low, source.high + 1).float().reshape(-1, 1) * source.step
    inventory = fx.inventory(model, x, target=target)
    inventory = type(inventory)([s if s.op != "input" else signed(s) for s in inventory], inventory.live)
    grids = {site.name: Grid.power_of_two(6, 1) for site in inventory.activations}
    grids |= {f"layers.{index}.weight": Grid.power_of_two(8, 1) for index in range(len(FUNCTIONS))}
    grids["x"] = source
    recipe = Recipe.from_inventory(inventory, {s.name: grids[s.name] for s in inventory}, target, "by hand")
    for (name, (_, real)), got in zip(FUNCTIONS.items(), fx.simulate(model, recipe, example_inputs=x)(x), strict=True):
        codes = np.clip(np.rint([real(float(v)) / grids["layers.0"].step for v in x.ravel()]), -32, 31)
        assert np.array_equal(got.numpy().ravel(), codes * grids["layers.0"].step), name
    check_runtime(model, recipe, (x,))


class Chosen(nn.Module):
    """One of two activations, by a third one and by which is larger."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))

    def forward(self, x):
        a, b, c = (layer(x) for layer in self.layers[:3])
        return self.layers[3](torch.where(a > 0.1, b, 0.5) + torch.where(b > c, b, c))


@pytest.mark.parametrize("target", ["onnxruntime", "litert-po2", "torch-x86"])
def test_choices_between_activations_are_products_or_float_parts(target):
    torch.manual_seed(0)
    model, x = Chosen().eval(), torch.randn(64, 4)
    recipe = fx.search(model, [x], target, weight_bits=widest(target), activation_bits=8, progress=False)
    on_grid = fx.constrain(model, recipe, [x])
    off = fx.simulate(on_grid, recipe, example_inputs=x)(x) - model(x)
    assert off.abs().median() < 0.05 * model(x).std()  # next to a jump it is as large as that
    check_runtime(on_grid, recipe, (x,))

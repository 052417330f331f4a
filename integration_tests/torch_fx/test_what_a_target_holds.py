"""What a target says of widths is obeyed, or refused with the numbers: accumulators, and activations of many bits."""

import pytest
import torch
from torch import nn

import mpq_torch
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins import Target
from mpq_plugins.errors import GridError, TargetError
from mpq_torch import fx

BYTES = {"weight": {"bits": [2, 8]}, "activation": {"bits": [2, 8]}}
WORDS = {"weight": {"bits": [8]}, "activation": {"bits": [8, 16], "container_bits": 16}}


def layer():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(64, 16, 3, padding=1), nn.ReLU()).eval(), torch.rand(4, 64, 5, 5)


def test_sums_past_a_narrow_accumulator_are_refused_by_search_constrain_and_simulate():
    model, x = layer()
    narrow = Target(name="acc16", accumulator_bits=16, ops={"*": BYTES})
    refusal = r"site '0': sums of its products reach \d+, and accumulators of 16 bits hold 32767; give '0.weight'"
    with pytest.raises(GridError, match=refusal):
        fx.search(model, [x], narrow, weight_bits=8, activation_bits=8)
    recipe = clipping_recipe(model, x, narrow, 8, 8)
    for verb in (fx.constrain, fx.simulate, mpq_torch.integers):
        with pytest.raises(GridError, match=refusal):
            verb(model, recipe, example_inputs=x)
    assert fx.search(model, [x], narrow, weight_bits=2, activation_bits=2).weight_bytes == 64 * 16 * 9 / 4


def test_activations_of_sixteen_bits_are_refused_by_a_search_and_run_from_a_recipe():
    model, x = layer()
    target = Target(name="a16", ops={"*": WORDS}, accumulator_bits=64)
    with pytest.raises(TargetError, match=r"site 'input' may have 16 bits, and a search rates .* up to 8 bits"):
        fx.search(model, [x], target, weight_bits=8, activation_bits=16)
    recipe = clipping_recipe(model, x, target, 8, 16)
    program = mpq_torch.integers(model, recipe, x)
    mpq_torch.verify_integers(program, model, recipe, [2 * x]).raise_if_different()

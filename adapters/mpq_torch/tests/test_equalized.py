"""Equalizing torch models: the function stays, and activations of few bits lose less."""

import pytest
import torch
from torch import nn

import mpq_plugins as mpq
from integration_tests.bits import widest
from mpq_torch import fx
from mpq_torch.tests.networks import Mobile, Residual, settled


def uneven(model, seed=0):
    """The model with output channels of every convolution from a quarter to four times as large."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            factor = torch.exp2(torch.rand(module.num_features, generator=generator) * 4 - 2)
            with torch.no_grad():
                module.weight.mul_(factor)
                module.bias.mul_(factor)
    return model


def images(shape, seed=1):
    return torch.randn(64, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _weights():
    torch.manual_seed(0)


@pytest.mark.parametrize("network", [Residual, Mobile])
def test_the_function_stays(network):
    model, x = settled(network()), images(network.input_shape)
    recipe = fx.search(model, x, "torch-x86", weight_bits=widest("torch-x86"), activation_bits=4)
    for equalized in (fx.equalize(model, x, recipe), fx.equalize(model, x)):
        torch.testing.assert_close(equalized(x), model(x), atol=1e-4, rtol=1e-4)


def test_uneven_channels_lose_less_at_few_activation_bits():
    model, x = uneven(settled(Residual())), images(Residual.input_shape)

    @torch.no_grad()
    def error(of):
        recipe = fx.search(
            of,
            x,
            "torch-x86",
            weight_bits=widest("torch-x86"),
            activation_bits={"x": 8, "add": 8, "avg*": 8, "fc": 8, "*": 3},
        )
        simulated = fx.simulate(fx.constrain(of, recipe, x), recipe)
        return float((simulated(x) - model(x)).square().mean()), recipe

    before, recipe = error(model)
    after, _ = error(fx.equalize(model, x, recipe))
    assert after < before * 0.7


def test_a_recipe_of_another_model_is_refused():
    x = images(Residual.input_shape)
    recipe = fx.search(settled(Residual()), x, "torch-x86", weight_bits=widest("torch-x86"), activation_bits=4)
    with pytest.raises(mpq.RecipeMismatch):
        fx.equalize(settled(Mobile()), images(Mobile.input_shape), recipe)

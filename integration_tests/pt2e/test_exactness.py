"""torchao's converted graph gives exactly the numbers of the simulation: every kind of network, every pair of bits."""

import copy

import pytest
import torch
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from integration_tests.bits import widest
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_torch import pt2e
from mpq_torch.tests.networks import NETWORKS, Mobile, network

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("weight_bits", "activation_bits", "per_channel"), [(8, 8, False), (2, 3, True), (5, 6, True)])
def test_every_kind_of_network_is_exact(kind, weight_bits, activation_bits, per_channel):
    model, x = network(kind, samples=9)
    recipe = clipping_recipe(model, x, "torch-pt2e", weight_bits, activation_bits, per_channel)
    on_grid = pt2e.constrain(model, recipe)
    converted = pt2e.quantize(on_grid, recipe, x)
    # inputs past the thresholds too, and a batch of one
    pt2e.verify(converted, pt2e.simulate(on_grid, recipe), [x * 1.5, x[:1] * 3]).raise_if_different()


@pytest.fixture(scope="module")
def exported():
    model, x = network(Mobile)
    on_grid = pt2e.constrain(model, clipping_recipe(model, x, "torch-pt2e", 8, 8))
    return on_grid, x, pt2e.export(on_grid, (x,))


@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_pair_of_bits_is_exact_on_a_network_of_depthwise_residual_and_hardswish(exported, weight_bits):
    on_grid, x, graph = exported
    for activation_bits in range(2, 9):
        per_channel = (weight_bits + activation_bits) % 2 == 0
        recipe = clipping_recipe(on_grid, x, "torch-pt2e", weight_bits, activation_bits, per_channel)
        converted = convert_pt2e(prepare_pt2e(copy.deepcopy(graph), pt2e.RecipeQuantizer(recipe)))
        pt2e.verify(converted, pt2e.simulate(on_grid, recipe), [x * 1.5]).raise_if_different()


@pytest.mark.parametrize("target", ["torch-pt2e", "torch-x86", "generic-po2"])
def test_an_input_just_below_a_tie_is_rounded_as_the_recipe_s_target_rounds_it(target):
    model, x = network(Mobile)
    recipe = clipping_recipe(model, x, target, widest(target), 8)
    step = recipe["x"].step
    below = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0)) * step
    inputs = torch.full_like(x, float(below)) + torch.arange(x.numel()).reshape(x.shape) % 100 * step
    on_grid = pt2e.constrain(model, recipe)
    pt2e.verify(pt2e.quantize(on_grid, recipe, x), pt2e.simulate(on_grid, recipe), inputs).raise_if_different()


def test_sums_past_the_24_bits_of_a_float32_are_added_in_float64():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3000, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.rand(8, 3000) * 2 - 0.9)
    x = torch.rand(40, 3000)
    recipe = clipping_recipe(model, x, "torch-pt2e", 8, 8)
    on_grid = pt2e.constrain(model, recipe)
    converted = pt2e.quantize(on_grid, recipe, x)
    dtypes = [node.args[1] for node in converted.graph.nodes if node.target is torch.ops.aten.to.dtype]
    assert dtypes == [torch.float64] * 3 + [torch.float32]
    pt2e.verify(converted, pt2e.simulate(on_grid, recipe), x).raise_if_different()

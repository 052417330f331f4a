"""An exported model gives exactly the numbers of the simulation in onnxruntime, optimized and not."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import mpq_plugins as mpq
from integration_tests.bits import widest
from integration_tests.onnx.networks import KINDS, Gelu, TwoInputs
from integration_tests.onnx.saturation import check_products
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins.exporters.onnx.running import run, session
from mpq_torch import fx, onnx
from mpq_torch.tests.networks import NETWORKS, Mobile, network

TARGET = "onnxruntime"


def check(model, inputs, recipe, batches, **options):
    """Compare an export with the simulation: in the way of verify, and the raw outputs of both."""
    check_products(recipe)
    content, simulated = onnx.export(model, recipe, inputs, **options), fx.simulate(model, recipe)
    for optimized in (True, False):
        onnx.verify(content, simulated, batches, optimized=optimized).raise_if_different()
    return content, simulated


def settle(kind):
    torch.manual_seed(1)
    return kind().eval(), torch.randn(9, *kind.input_shape)


@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_pair_of_bits_is_exact_on_a_network_of_depthwise_residual_and_hardswish(weight_bits):
    model, x = network(Mobile, samples=9)
    for activation_bits in range(2, 9):
        turn = weight_bits + activation_bits
        recipe = clipping_recipe(model, x, TARGET, weight_bits, activation_bits, turn % 2 == 0)
        # inputs past the thresholds too, and a batch of one
        check(model, x, recipe, [x * 1.5, x[:1] * 3], symmetric=turn % 3 == 0, opset=25 if turn % 4 else 21)


@pytest.mark.parametrize("kind", [*NETWORKS, *KINDS])
@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "per_channel"),
    [(widest(TARGET), 8, False), (widest(TARGET), 8, True), (2, 3, True), (5, 6, False), (4, 4, True)],
)
def test_every_kind_of_network_is_exact(kind, weight_bits, activation_bits, per_channel):
    model, x = network(kind, samples=9) if kind in NETWORKS else settle(kind)
    recipe = clipping_recipe(model, x, TARGET, weight_bits, activation_bits, per_channel)
    check(model, x, recipe, [x * 1.5, x[:1] * 3], symmetric=per_channel)


def test_the_raw_outputs_are_the_simulation_s_too():
    model, x = network(Mobile, samples=9)
    recipe = clipping_recipe(model, x, TARGET, 4, 5)
    content, simulated = check(model, x, recipe, x)
    with torch.no_grad():
        wanted = simulated(x).numpy()
    for optimized in (True, False):
        (got,) = run(session(content, optimized), [x.numpy()])
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("bits", [3, 8])
def test_two_inputs_and_two_outputs_are_exact(bits):
    torch.manual_seed(0)
    model, inputs = TwoInputs().eval(), (torch.randn(9, 2, 6, 6), torch.randn(9, 2, 6, 6))
    recipe = fx.search(
        model, [inputs], TARGET, weight_bits=min(bits, widest(TARGET)), activation_bits=bits, progress=False
    )
    content, _ = check(model, inputs, recipe, [inputs, tuple(2 * t[:2] for t in inputs)])
    assert [i.name for i in session(content).get_outputs()] == ["output_0", "output_1"]


def test_a_float_part_in_the_middle_and_a_float_tail_stay_float():
    model, x = settle(Gelu)
    recipe = clipping_recipe(model, x, TARGET, 4, 6, keep_float=["act"])
    content, simulated = check(model, x, recipe, x)
    (got,) = run(session(content), [x.numpy()])
    with torch.no_grad():
        np.testing.assert_allclose(got, simulated(x).numpy(), rtol=1e-5)
    found = onnx.verify(content, simulated, x)
    # the first linear in front of the GELU and the last one are where integers end; the softmax is compared bit for bit
    assert (found.elements, found.float_elements, found.float_mismatched) == (9 * (8 + 3), 9 * 3, 0)
    assert found.float_distance < 1e-6


@pytest.mark.parametrize("size", [2, 4, 14, 26, 28, 36, 56])
def test_a_mean_is_exact_on_both_sides_of_every_tie(size):
    sums = torch.tensor([code * size + size // 2 + off for code in range(127) for off in (-1, 0, 1)])
    codes = (sums // size)[:, None] + (torch.arange(size) < (sums % size)[:, None])
    model = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Conv1d(1, 1, 1, bias=False)).eval()
    nn.init.ones_(model[1].weight)
    x = codes[:, None].float()
    grid = mpq.Grid.power_of_two(8, 7)
    one = mpq.Grid.power_of_two(7, 1)  # holds the weight 1 as a code
    grids = {site.name: one if site.kind == "weight" else grid for site in fx.inventory(model, x)}
    recipe = mpq.Recipe.from_inventory(fx.inventory(model, x), grids, TARGET, "by hand")
    content, _ = check(model, x, recipe, x)
    wanted = [round(Fraction(total, size)) for total in sums.tolist()]
    for optimized in (True, False):
        assert run(session(content, optimized), [x.numpy()])[0].ravel().tolist() == wanted


def test_an_input_just_below_a_tie_is_rounded_as_the_kernel_rounds_it():
    model, x = network(Mobile)
    recipe = clipping_recipe(model, x, TARGET, widest(TARGET), 8)
    step = recipe["x"].step
    below = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0)) * step
    inputs = torch.full_like(x, float(below)) + torch.arange(x.numel()).reshape(x.shape) % 100 * step
    check(model, x, recipe, [inputs, torch.full_like(x, float(below))])


def test_a_transposed_convolution_of_many_channels_is_exact():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.ConvTranspose2d(24, 5, 4, 2, 1)).eval(), torch.randn(4, 24, 5, 5)
    check(model, x, clipping_recipe(model, x, TARGET, widest(TARGET), 8), x)


def test_sums_past_2_to_the_24_are_exact_in_the_integer_kernels():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(3000, 3)).eval(), torch.rand(5, 3000) + 0.5
    model[0].weight.data.abs_()
    recipe = clipping_recipe(model, x, TARGET, widest(TARGET), 8)
    simulated = fx.simulate(model, recipe)
    quantized = simulated.simulation.quantized
    assert quantized.layer(quantized.graph["0"]).wide
    onnx.verify(onnx.export(model, recipe, x), simulated, x * 2).raise_if_different()

"""The converted model gives exactly the numbers of the simulation: every engine, every pair of bits."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mpq_plugins as mpq
from integration_tests.bits import widest
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins import plugins
from mpq_plugins.hardware import saturation
from mpq_torch import fx
from mpq_torch.tests.networks import NETWORKS, Mobile, network

ENGINES = ["x86", "onednn", "qnnpack"]


def verified(kind, engine, weight_bits, activation_bits, per_channel):
    model, x = network(kind, samples=9)
    recipe = clipping_recipe(model, x, f"torch-{engine}", weight_bits, activation_bits, per_channel)
    on_grid = fx.constrain(model, recipe)
    int8 = fx.quantize(on_grid, recipe, x)
    # inputs past the thresholds too, and a batch of one
    return fx.verify(int8, fx.simulate(on_grid, recipe), [x * 1.5, x[:1] * 3])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_pair_of_bits_is_exact_on_a_network_of_depthwise_residual_and_hardswish(engine, weight_bits):
    for activation_bits in range(2, 9):
        if engine != "x86" and (weight_bits + activation_bits) % 3:  # every pair on one, a third of them on the others
            continue
        per_channel = (weight_bits + activation_bits) % 2 == 0
        verified(Mobile, engine, weight_bits, activation_bits, per_channel).raise_if_different()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "per_channel"), [(None, 8, False), (None, 8, True), (2, 3, True), (5, 6, False)]
)
def test_every_kind_of_network_is_exact(engine, kind, weight_bits, activation_bits, per_channel):
    verified(kind, engine, weight_bits or widest(f"torch-{engine}"), activation_bits, per_channel).raise_if_different()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_input_just_below_a_tie_is_rounded_as_the_kernel_rounds_it(engine):
    model, x = network(Mobile)
    recipe = clipping_recipe(model, x, f"torch-{engine}", widest(f"torch-{engine}"), 8)
    step = recipe["x"].step
    below = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0)) * step
    inputs = torch.full_like(x, float(below)) + torch.arange(x.numel()).reshape(x.shape) % 100 * step
    on_grid = fx.constrain(model, recipe)
    fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe), inputs).raise_if_different()


@pytest.mark.parametrize("engine", ENGINES)
def test_an_average_behind_a_transposed_convolution_is_exact_for_a_single_image_too(engine):
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, dilation=2), nn.AvgPool2d(3, 2, 1)).eval()
    x = torch.randn(4, 2, 5, 3)
    recipe = fx.search(model, [x], f"torch-{engine}", weight_bits=6, activation_bits=8, progress=False)
    on_grid = fx.constrain(model, recipe, [x])
    fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe), [x, x[:1]]).raise_if_different()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gate", [nn.Sigmoid, nn.Hardsigmoid, nn.SiLU])
def test_a_gate_at_the_end_and_one_before_a_concat_are_integers_too(gate, engine):
    class Ends(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gate, self.last = nn.Conv2d(3, 4, 3), gate(), nn.Conv2d(8, 2, 1)

        def forward(self, x):
            y = self.gate(self.conv(x))
            return self.last(torch.cat([y, F.relu(y)], 1)), self.gate(y.mean((2, 3)))

    torch.manual_seed(0)
    model, x = Ends().eval(), 3 * torch.randn(16, 3, 6, 6)
    for bits in (3, 8):
        weight_bits = min(bits, widest(f"torch-{engine}"))
        recipe = fx.search(model, [x], f"torch-{engine}", weight_bits=weight_bits, activation_bits=bits, progress=False)
        on_grid = fx.constrain(model, recipe, [x])
        found = fx.verify(fx.quantize(on_grid, recipe, x), fx.simulate(on_grid, recipe), 2 * x)
        found.raise_if_different()
        assert "float" not in found.compared


@pytest.mark.parametrize("bits", [3, 8])
def test_hardware_without_a_runtime_takes_an_input_to_its_nearest_code(bits):
    model, x = network(Mobile)
    recipe = clipping_recipe(model, x, "generic-po2", 7, bits)
    step = recipe["x"].step
    below = torch.nextafter(torch.tensor(0.5), torch.tensor(0.0)) * step
    inputs = torch.full_like(x, float(below))
    on_grid = fx.constrain(model, recipe)
    simulated = fx.simulate(on_grid, recipe)
    assert not simulated.sites(inputs)["x"].any()
    fx.verify(fx.quantize(on_grid, recipe, x), simulated, [inputs, -inputs, x]).raise_if_different()


def test_sums_that_this_processor_clips_are_refused_for_hardware_without_a_runtime_too(monkeypatch):
    monkeypatch.setattr(saturation, "processor_flags", lambda: frozenset({"x86", "avx2"}))
    model, x = network(Mobile)
    with pytest.raises(mpq.ProcessorLimit, match=r"8-bit weights .* none of avx512_vnni.* at most 7 bits"):
        fx.quantize(model, clipping_recipe(model, x, "generic-po2", 8, 8), x)
    fx.quantize(model, clipping_recipe(model, x, "generic-po2", 7, 8), x)


def test_hardware_that_rounds_otherwise_does_not_run_on_torchs_kernels(monkeypatch):
    model, x = network(Mobile)
    target = mpq.Target(name="npu", ops={"*": {"weight": {}, "activation": {}, "rounding": "half_up"}})
    recipe = clipping_recipe(model, x, "generic-po2", 8, 8)
    monkeypatch.setattr(plugins, "target_of", lambda recipe: target)
    with pytest.raises(mpq.TargetError, match=r"'npu' rounds .*conv2d half_up, .* in integers"):
        fx.quantize(model, recipe, x)

"""torch.compile and inductor's int8 kernels: the same numbers, and the kernels are really there."""

import pytest
import torch
import torch._inductor.config as inductor
from torch import nn
from torch._inductor.utils import run_and_get_code

from integration_tests.bits import widest
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_torch import pt2e
from mpq_torch.pt2e.lowering import int8_kernels, lower_pt2e_quantized_to_x86, prepare_for_x86
from mpq_torch.tests.networks import Crossed, Mobile, Residual, Shared, network

pytestmark = pytest.mark.filterwarnings("ignore")
TARGET = "torch-pt2e-x86"


def quantized(kind, weight_bits, activation_bits, per_channel, target=TARGET):
    model, x = network(kind, samples=9)
    recipe = clipping_recipe(model, x, target, weight_bits, activation_bits, per_channel)
    on_grid = pt2e.constrain(model, recipe)
    return pt2e.quantize(on_grid, recipe, x), pt2e.simulate(on_grid, recipe), x


@pytest.mark.parametrize(
    ("kind", "kernels", "weight_bits", "activation_bits", "per_channel"),
    [(Mobile, 5, widest(TARGET), 8, False), (Mobile, 5, 5, 4, True), (Shared, 3, widest(TARGET), 8, True)],
)
def test_every_convolution_and_linear_is_an_int8_kernel_with_exact_results(
    kind, kernels, weight_bits, activation_bits, per_channel
):
    converted, simulated, x = quantized(kind, weight_bits, activation_bits, per_channel)
    lowered = pt2e.lower_to_x86(converted, (x,))
    assert len(int8_kernels(lowered)) == kernels
    assert not {str(n.target) for n in lowered.graph.nodes} & {"aten.convolution.default", "aten.addmm.default"}
    pt2e.verify(lowered, simulated, x * 1.5).raise_if_different()


def test_transposed_convolutions_have_no_int8_kernel_and_stay_exact_in_float():
    converted, simulated, x = quantized(Crossed, widest(TARGET), 8, False)
    lowered = pt2e.lower_to_x86(converted, (x,))
    assert len(int8_kernels(lowered)) == 3
    assert "aten.convolution.default" in {str(node.target) for node in lowered.graph.nodes}
    pt2e.verify(lowered, simulated, x * 1.5).raise_if_different()


def test_a_recipe_for_torch_ao_s_kernels_runs_on_inductor_s_with_the_same_numbers():
    converted, simulated, x = quantized(Residual, 4, 6, True, "torch-x86")
    pt2e.verify(pt2e.lower_to_x86(converted, (x,)), simulated, x * 1.5).raise_if_different()


def test_without_explicit_clamps_the_fused_kernels_forget_quant_max():
    # the reason for prepare_for_x86; if this fails, torchao clips by itself
    converted, simulated, x = quantized(Crossed, 3, 4, True, "torch-pt2e")
    lowered = lower_pt2e_quantized_to_x86(converted, (x,))
    assert not pt2e.verify(lowered, simulated, x * 1.5).exact


class Tiny(nn.Module):
    """One convolution, an add and a linear: as little to compile as shows everything."""

    input_shape = (2, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.fc = nn.Linear(32, 3)

    def forward(self, x):
        return self.fc((torch.relu(self.conv(x)) + x).flatten(1))


def test_torch_compile_gives_the_same_numbers_and_calls_int8_kernels_when_it_freezes():
    model, x = network(Tiny, samples=9)
    recipe = clipping_recipe(model, x, TARGET, 4, 6)
    on_grid = pt2e.constrain(model, recipe)
    exported = pt2e.export(on_grid, (x,), dynamic_batch=False)
    converted = pt2e.convert(exported, recipe)
    simulated = pt2e.simulate(on_grid, recipe)
    pt2e.verify(torch.compile(converted), simulated, x * 1.5).raise_if_different()
    with inductor.patch(freezing=True), torch.no_grad():
        compiled = torch.compile(prepare_for_x86(converted))
        _, code = run_and_get_code(compiled, x)
        pt2e.verify(compiled, simulated, x * 1.5).raise_if_different()
    torch._dynamo.reset()
    source = "".join(code)
    assert "torch.ops.onednn.qconv_pointwise" in source
    assert "torch.ops.onednn.qlinear_pointwise" in source

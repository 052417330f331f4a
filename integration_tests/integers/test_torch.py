"""A torch model as integers gives exactly what is simulated, from files, in NumPy and in C."""

import numpy as np
import pytest
import torch
from torch import nn

import mpq_torch
from integration_tests.bits import widest
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins import Grid
from mpq_plugins.errors import GridError, RecipeMismatch, UnsupportedOp
from mpq_plugins.integers import input_codes, load, output_values, run, save
from mpq_plugins.integers.tests.c_programs import c_outputs, joined
from mpq_torch import fx, integers, verify_integers
from mpq_torch.tests.networks import NETWORKS, Branches, Mobile, Residual, Upsampler, network, settled

CASES = [
    ("torch-x86", (widest("torch-x86"), 8), False),
    ("torch-x86", (2, 3), True),
    ("torch-qnnpack", (5, 6), False),
    ("generic-po2", (4, 4), False),
    ("generic-po2-per-channel", (3, 7), True),
]


def lowered(model, x, target="torch-x86", bits=(5, 6), per_channel=False, constrained=True):
    recipe = clipping_recipe(model, x, target, *bits, per_channel)
    model = fx.constrain(model, recipe) if constrained else model
    return integers(model, recipe, x), model, recipe


def checked(model, x, *arguments):
    """Lower, and compare with the simulation on inputs past the thresholds too."""
    program, model, recipe = lowered(model, x, *arguments)
    found = verify_integers(program, model, recipe, [x * 1.5, x * 4])
    found.raise_if_different()
    assert found.elements > 0
    return program


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("target", "bits", "per_channel"), CASES)
def test_every_kind_of_network_equals_its_simulation(kind, target, bits, per_channel):
    checked(*network(kind, 9), target, bits, per_channel)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_files_alone_give_the_simulations_numbers_in_numpy_and_in_c(kind, tmp_path):
    model, x = network(kind, 4)
    program, on_grid, recipe = lowered(model, x, "torch-x86", (4, 6), True)
    save(program, tmp_path)
    program = load(tmp_path)
    codes = input_codes(program, (x * 2).numpy())
    outputs = run(program, codes)
    values = list(output_values(program, outputs).values())
    if kind not in (Branches,) and len(values) == 1:  # which ends in float
        assert np.array_equal(values[0], fx.simulate(on_grid, recipe)(x * 2).detach().numpy())
    assert np.array_equal(c_outputs(program, codes, tmp_path / "c"), joined(program, outputs))


def test_a_float_end_is_named_and_left_out():
    program, _, _ = lowered(*network(Branches))
    assert program.float_ops == ("log_softmax",)
    assert program.outputs == ("fc",)


def test_a_model_that_is_not_on_its_grids_is_rounded_as_its_simulation_is():
    model, x = network(Residual)
    program, _, recipe = lowered(model, x, "torch-x86", (3, 5), True, False)
    verify_integers(program, model, recipe, x).raise_if_different()


def test_a_program_names_its_sites_with_exponents_shifts_and_int32_biases():
    model, x = network(Residual)
    program, on_grid, recipe = lowered(model, x)
    tensors = {t.name: t for t in program.tensors}
    for entry in recipe.activations:
        if entry.site in tensors:
            assert 2.0 ** tensors[entry.site].exponent == recipe[entry.site].step
    weight = program.weight("conv1.weight")
    values = program.arrays["conv1.weight"] * 2.0 ** weight.exponents[0]
    assert np.array_equal(values.transpose(0, 3, 1, 2), on_grid.get_submodule("conv1").weight.detach().numpy())
    assert program.arrays["conv1.bias"].dtype == np.int32
    shift = next(stage for stage in program.steps[0].stages if stage.kind == "shift")
    (accumulator,) = program.bias("conv1.bias").exponents
    assert 2.0 ** (accumulator + shift.amounts[0]) == recipe["conv1"].step


class Wide(nn.Module):
    """Sums far past 2**24 and, with large biases, close to int32."""

    input_shape = (1500,)

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(1500, 64)
        self.second = nn.Linear(64, 3)

    def forward(self, x):
        return self.second(self.first(x))


def test_sums_past_24_bits_round_as_the_kernels_float32_does():
    torch.manual_seed(0)
    model = Wide()
    with torch.no_grad():
        model.first.weight.copy_(torch.rand(64, 1500) * 0.9 + 0.1)
    x = torch.rand(64, 1500) * 0.9 + 0.1
    program = checked(model, x, "torch-qnnpack", (8, 8))
    assert program.steps[0].stages[0].kind == "significant"


class Pools(nn.Module):
    """Padded, dilated, overhanging pooling and grouped layers, and every way to move elements."""

    input_shape = (4, 11, 10)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(0, 1), dilation=(1, 2), groups=2)
        self.max = nn.MaxPool2d(3, 1, padding=1)
        self.holes = nn.MaxPool2d(2, 1, dilation=2, ceil_mode=True)
        self.average = nn.AvgPool2d(3, 2, padding=1, ceil_mode=True)
        self.up = nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, groups=2)
        self.fc = nn.Linear(10, 4)

    def forward(self, x):
        x = torch.relu(self.conv(nn.functional.pad(x, (1, 0, 0, 2))))
        x = self.up(self.average(self.holes(self.max(x))))
        x = x.permute(0, 2, 3, 1).flatten(2).transpose(1, 2)
        return self.fc(nn.functional.interpolate(x.unsqueeze(1), scale_factor=2.0, mode="nearest"))


class Signals(nn.Module):
    """Pooling over signals, and a mean of them."""

    input_shape = (3, 24)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 6, 3, padding=1, stride=2)
        self.max = nn.MaxPool1d(2, stride=1, padding=1)
        self.average = nn.AvgPool1d(3, 2)
        self.mean = nn.AdaptiveAvgPool1d(1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.average(self.max(torch.relu(self.conv(x))))
        return self.fc(self.mean(x).squeeze(-1))


@pytest.mark.parametrize(("target", "bits"), [("torch-x86", (widest("torch-x86"), 8)), ("generic-po2", (3, 4))])
def test_pooling_and_moving_in_every_form_equal_the_simulation(target, bits, tmp_path):
    for kind in (Pools, Signals):
        model, x = network(kind, 5)
        program = checked(model, x, target, bits)
        codes = input_codes(program, x.numpy())
        assert np.array_equal(c_outputs(program, codes, tmp_path / kind.__name__), joined(program, run(program, codes)))


def test_a_transposed_convolution_may_have_exponents_by_channel():
    model, x = network(Upsampler, 5)
    recipe = clipping_recipe(model, x, "generic-po2-per-channel", 5, 6, True)
    recipe = recipe.with_grids({"up.weight": Grid.power_of_two(5, [0, -1, 0, -2], axis=1)})
    program = integers(model, recipe, x)
    assert program.weight("up.weight").exponents == (-4, -5, -4, -6)
    verify_integers(program, model, recipe, x).raise_if_different()


def test_two_inputs_are_given_by_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(5, 3)

        def forward(self, first, second):
            return self.a(first) + self.b(second)

    model, inputs = settled(Two()), (torch.randn(6, 4), torch.randn(6, 5))
    recipe = fx.search(model, [inputs], "torch-x86", weight_bits=widest("torch-x86"), activation_bits=8)
    program = integers(model, recipe, inputs)
    verify_integers(program, model, recipe, [inputs]).raise_if_different()
    assert [entrance.tensor for entrance in program.inputs] == ["first", "second"]


def test_a_recipe_of_another_model_is_refused_with_names():
    model, x = network(Residual)
    other, y = network(Mobile)
    with pytest.raises(RecipeMismatch, match="conv1"):
        integers(model, clipping_recipe(other, y, "torch-x86", 8, 8), x)


def test_free_steps_are_refused_by_name():
    model, x = network(Residual)
    recipe = clipping_recipe(model, x, "torch-x86", 8, 8).with_grids({"fc.weight": Grid(8, (0.3,))})
    with pytest.raises(GridError, match=r"fc.weight.*no powers of two|no powers of two.*fc.weight"):
        integers(model, recipe, x)


def test_a_float_op_between_integer_ones_is_refused_by_name():
    class Between(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.gelu, self.last = nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.gelu(self.first(x)))

    model, x = settled(Between()), torch.randn(8, 4)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=widest("torch-x86"), activation_bits=8, keep_float=["gelu"])
    with pytest.raises(UnsupportedOp, match="gelu: stays float in front of integer ops"):
        integers(model, recipe, x)


def test_words_look_up_the_rows_of_an_embedding():
    model, words = nn.Sequential(nn.Embedding(20, 4), nn.Linear(4, 3)).eval(), torch.randint(0, 20, (8, 6))
    recipe = fx.search(model, words, "generic-po2", weight_bits=8, activation_bits=8, progress=False)
    program = integers(model, recipe, words)
    verify_integers(program, model, recipe, words).raise_if_different()
    assert np.array_equal(next(iter(input_codes(program, words).values())), words)


def test_mixing_samples_is_refused_by_name():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return self.fc(x).reshape(-1, 2)

    model, x = settled(Mixing()), torch.randn(8, 4)
    recipe = clipping_recipe(model, x, "torch-x86", 8, 8)
    with pytest.raises(UnsupportedOp, match=r"reshape: mixes samples, from \(batch, 4\) to \(2 \* batch, 2\)"):
        integers(model, recipe, x)


def test_the_function_is_public():
    assert {"integers", "verify_integers"} <= set(mpq_torch.__all__)

"""Simulated ops against integers, fractions and explicit ties."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins import Grid, plugins
from mpq_plugins.errors import RecipeMismatch
from mpq_torch.canonical import canonicalize
from mpq_torch.canonical_ops import Clamp
from mpq_torch.inventory import locate_sites
from mpq_torch.simulation import (
    SimulatedAverage,
    SimulatedHardswish,
    SimulatedInput,
    SimulatedLayer,
    ToGrid,
    build_simulation,
    channel_steps,
    needs_float64,
    simulated_sites,
)

UNIT = Grid(8, (1.0,))
QUARTERS = Grid(8, (0.25,))


def simulated(model, grids, target="torch-x86"):
    canonical = canonicalize(model.eval())
    return build_simulation(canonical, grids, locate_sites(canonical).grid_of, plugins.target(target))


def test_sums_past_2_to_the_24_are_exact_integers():
    rng = np.random.default_rng(0)
    weight, x = rng.integers(-127, 128, (3, 3000)), rng.integers(200, 256, (4, 3000))
    weight[0] = 127
    layer = nn.Linear(3000, 3, bias=False)
    layer.weight.data = torch.from_numpy(weight).float()
    source = Grid(8, (1.0,), signed=False)
    module = SimulatedLayer(layer, source, UNIT, ToGrid(Grid(16, (2.0**12,)), "half_even"))
    assert module.wide
    sums = x.astype(np.int64) @ weight.T.astype(np.int64)
    assert np.abs(sums).max() > 2**24
    codes = np.clip(np.rint(sums / 2**12), -(2**15), 2**15 - 1)
    with torch.no_grad():
        np.testing.assert_array_equal(module(torch.from_numpy(x).float()).numpy(), codes * 2.0**12)


@pytest.mark.parametrize(("largest", "wide"), [(2**16, False), (2**16 + 1, True)])
def test_the_precision_follows_the_largest_possible_sum(largest, wide):
    # one weight of `largest` codes times an input of at most 255, and a bias that fills up to 2**24
    layer = nn.Linear(1, 1)
    grid, source = Grid(16, (0.5,)), Grid(8, (0.25,), signed=False)
    layer.weight.data.fill_(2**15 * 0.5)
    layer.bias.data.fill_((2**24 - 255 * 2**15 + (largest - 2**16)) * 0.125)
    assert needs_float64(layer, grid, source) is wide


def test_the_precision_is_chosen_anew_when_the_weight_has_changed():
    layer = nn.Linear(1000, 1, bias=False)
    nn.init.constant_(layer.weight, 127.0)
    module = SimulatedLayer(layer, Grid(8, (1.0,), signed=False), UNIT, ToGrid(UNIT, "half_even"))
    assert (module.wide, layer.weight.dtype) == (True, torch.float64)
    nn.init.constant_(layer.weight, 1.0)
    module.choose_precision()
    assert (module.wide, layer.weight.dtype) == (False, torch.float32)


def test_every_output_channel_has_its_step_in_ordinary_and_transposed_layers():
    assert channel_steps(nn.Conv2d(4, 6, 3), QUARTERS).tolist() == [0.25] * 6
    assert channel_steps(nn.ConvTranspose2d(4, 6, 3, groups=2), QUARTERS).tolist() == [0.25] * 6
    assert channel_steps(nn.Linear(4, 2), Grid(8, (0.5, 2.0), axis=0)).tolist() == [0.5, 2.0]


class Sum(nn.Module):
    """The sum of the arguments, and a linear of weight one that lets it pass."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.fc.weight)

    def forward(self, a, b):
        return self.fc(a + b)


SUM_GRIDS = {"a": QUARTERS, "b": QUARTERS, "add": UNIT, "fc.weight": UNIT, "fc": UNIT}
TIES = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]).unsqueeze(1)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("torch-x86", [-2, -2, 0, 0, 2, 2]),
        ("torch-onednn", [-2, -2, 0, 0, 2, 2]),
        ("torch-qnnpack", [-3, -2, -1, 1, 2, 3]),
    ],
)
def test_an_add_rounds_ties_as_its_engine_does(target, expected):
    sums = simulated(Sum(), SUM_GRIDS, target)(TIES - 0.25, torch.full_like(TIES, 0.25))
    assert sums.squeeze(1).tolist() == expected


def test_qnnpack_rounds_an_add_of_different_shapes_half_to_even():
    sums = simulated(Sum(), SUM_GRIDS, "torch-qnnpack")(TIES - 0.25, torch.tensor([[0.25]]))
    assert sums.squeeze(1).tolist() == [-2, -2, 0, 0, 2, 2]


def test_values_past_the_range_clip_to_it():
    sums = simulated(Sum(), {**SUM_GRIDS, "add": Grid(3, (1.0,))})(torch.tensor([[20.0], [-20.0]]), torch.zeros(2, 1))
    assert sums.squeeze(1).tolist() == [3, -4]


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("functional.avg_pool2d", ((1, 2), (1, 2), 0, False)),
        ("torch.mean", ([-1], True)),
    ],
)
def test_averages_of_images_round_ties_to_even(function, args):
    x = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [-1.0, 0.0], [-2.0, -1.0]]).reshape(5, 1, 1, 2) * 0.25
    module = SimulatedAverage(function, QUARTERS)
    assert (module(x, *args).flatten() / 0.25).tolist() == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("args", [((2,), (2,), (0,), False), (2, 2, 0, False)])
def test_averages_of_signals_round_ties_to_even(args):
    x = torch.tensor([[[0.0, 1.0, 1.0, 2.0, 2.0, 3.0]]])
    assert SimulatedAverage("torch.avg_pool1d", UNIT)(x, *args).tolist() == [[[0.0, 2.0, 2.0]]]


def test_padding_counts_in_an_average():
    x = torch.full((1, 1, 2, 2), 8.0)
    assert SimulatedAverage("functional.avg_pool2d", UNIT)(x, 2, 2, 1, False).tolist() == [[[[2.0, 2.0], [2.0, 2.0]]]]


@pytest.mark.parametrize("shift", [2, 3, 4, 5, 6])
def test_hardswish_of_every_code_is_the_nearest_code_of_the_exact_fraction(shift):
    step, grid = Fraction(1, 2**shift), Grid(8, (2.0**-shift,))
    codes = range(-128, 128)
    expected = []
    for code in codes:
        x = code * step
        exact = x * min(max(x + 3, Fraction(0)), Fraction(6)) / 6
        expected.append(min(max(round(exact / step), -128), 127))  # Python's round goes half to even
    found = SimulatedHardswish(grid)(torch.tensor([float(c * step) for c in codes])) * 2.0**shift
    assert found.tolist() == expected


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*")
def test_an_input_is_rounded_with_its_zero_point_as_quantize_per_tensor_does():
    grid = Grid.power_of_two(5, 0, signed=False)
    x = torch.linspace(-1, 2, 4001)
    zero_point = 255 - grid.high
    kernel = torch.quantize_per_tensor(x, grid.steps[0], zero_point, torch.quint8).dequantize()
    assert torch.equal(SimulatedInput(grid)(x), kernel.clamp(0, grid.high * grid.steps[0]))


def test_the_bounds_of_a_clamp_lie_on_the_grid_even_in_a_model_that_was_not_constrained():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU6(), nn.Linear(1, 1, bias=False))
    for layer in (model[0], model[2]):
        nn.init.ones_(layer.weight)
    coarse = Grid(2, (4.0,), signed=False)
    grids = {"input": UNIT, "0.weight": UNIT, "0": coarse, "2.weight": UNIT, "2": UNIT}
    graph = simulated(model, grids)
    assert [(m.low, m.high) for m in graph.modules() if isinstance(m, Clamp)] == [(0.0, 4.0)]
    assert graph(torch.tensor([[7.0]])).item() == 4.0


def test_every_site_without_a_grid_is_an_error_by_name():
    for missing in SUM_GRIDS:
        grids = {name: grid for name, grid in SUM_GRIDS.items() if name != missing}
        with pytest.raises(RecipeMismatch, match=rf"no grid for site {missing}$"):
            simulated(Sum(), grids)


def test_a_shared_layer_is_simulated_once_for_each_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(1, 1)

        def forward(self, x):
            return self.fc(F.relu(self.fc(x)))

    grids = {"x": UNIT, "fc.weight": UNIT, "fc": UNIT, "fc__call1": QUARTERS}
    graph = simulated(Twice(), grids)
    assert [(n.meta["mpq_name"], g) for n, g in simulated_sites(graph)] == [
        ("x", UNIT),
        ("fc", UNIT),
        ("fc__call1", QUARTERS),
    ]

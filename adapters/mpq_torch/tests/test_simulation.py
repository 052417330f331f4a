"""Simulated ops against integers, fractions and explicit ties."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins import Grid, plugins
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import take_sites
from mpq_torch.reader.reading import read_model
from mpq_torch.simulation.simulated_model import SimulatedModel

UNIT = Grid(8, (1.0,))
QUARTERS = Grid(8, (0.25,))
ACCUMULATED = Grid(16, (2.0**12,))


def simulated(model, example, grids, target="torch-x86"):
    reading = read_model(model.eval(), example)
    sites = take_sites(reading.graph)
    return SimulatedModel(reading, QuantizedGraph.of(reading.graph, sites, grids, plugins.target(target)))


class Passed(nn.Module):
    """An op, and a convolution of weight one that lets its result pass."""

    def __init__(self, op, signals=False):
        super().__init__()
        self.op = op
        self.fc = (nn.Conv1d if signals else nn.Conv2d)(1, 1, 1, bias=False)
        nn.init.ones_(self.fc.weight)

    def forward(self, x):
        return self.fc(self.op(x))


def test_sums_past_2_to_the_24_are_exact_integers():
    rng = np.random.default_rng(0)
    weight, x = rng.integers(-127, 128, (3, 3000)), rng.integers(200, 256, (4, 3000))
    weight[0] = 127
    layer = nn.Linear(3000, 3, bias=False)
    layer.weight.data = torch.from_numpy(weight).float()
    inputs = torch.from_numpy(x).float()
    grids = {"input": Grid(8, (1.0,), signed=False), "0.weight": UNIT, "0": ACCUMULATED}
    found = simulated(nn.Sequential(layer), [inputs], grids)
    sums = x.astype(np.int64) @ weight.T.astype(np.int64)
    assert np.abs(sums).max() > 2**24
    codes = np.clip(np.rint(sums / 2**12), -(2**15), 2**15 - 1)
    np.testing.assert_array_equal(found(inputs).numpy(), codes * 2.0**12)


@pytest.mark.parametrize(("largest", "wide"), [(2**16, False), (2**16 + 1, True)])
def test_the_precision_follows_the_largest_possible_sum(largest, wide):
    # one weight of 2**15 codes times an input of at most 255, and a bias that fills up to 2**24
    layer = nn.Linear(1, 1)
    layer.weight.data.fill_(-(2**15) * 0.5)
    layer.bias.data.fill_((2**24 - 255 * 2**15 + (largest - 2**16)) * 0.125)
    grids = {"input": Grid(8, (0.25,), signed=False), "0.weight": Grid(16, (0.5,)), "0": Grid(16, (2.0**8,))}
    found = simulated(nn.Sequential(layer), [torch.ones(2, 1)], grids)
    quantized = found.simulation.quantized
    assert quantized.layer(quantized.graph["0"]).wide is wide


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
    sums = simulated(Sum(), [TIES, TIES], SUM_GRIDS, target)(TIES - 0.25, torch.full_like(TIES, 0.25))
    assert sums.squeeze(1).tolist() == expected


def test_qnnpack_rounds_an_add_of_different_shapes_half_to_even():
    sums = simulated(Sum(), [TIES, torch.ones(1, 1)], SUM_GRIDS, "torch-qnnpack")(TIES - 0.25, torch.tensor([[0.25]]))
    assert sums.squeeze(1).tolist() == [-2, -2, 0, 0, 2, 2]


def test_values_past_the_range_clip_to_it():
    sums = simulated(Sum(), [TIES, TIES], {**SUM_GRIDS, "add": Grid(3, (1.0,))})(
        torch.tensor([[20.0], [-20.0]]), torch.zeros(2, 1)
    )
    assert sums.squeeze(1).tolist() == [3, -4]


AVERAGED = {"x": QUARTERS, "fc.weight": UNIT, "fc": QUARTERS}


@pytest.mark.parametrize(
    ("name", "op"),
    [("avg_pool2d", lambda x: F.avg_pool2d(x, (1, 2))), ("mean", lambda x: x.mean((-2, -1), keepdim=True))],
)
def test_averages_of_images_round_ties_to_even(name, op):
    x = torch.tensor([[0.0, 1.0], [1.0, 2.0], [2.0, 3.0], [-1.0, 0.0], [-2.0, -1.0]]).reshape(5, 1, 1, 2) * 0.25
    found = simulated(Passed(op), [x], {**AVERAGED, name: QUARTERS})
    assert (found(x).flatten() / 0.25).tolist() == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("window", [(2,), 2])
def test_averages_of_signals_round_ties_to_even(window):
    x = torch.tensor([[[0.0, 1.0, 1.0, 2.0, 2.0, 3.0]]])
    grids = dict.fromkeys(("x", "avg_pool1d", "fc.weight", "fc"), UNIT)
    found = simulated(Passed(lambda x: F.avg_pool1d(x, window), signals=True), [x], grids)
    assert found(x).tolist() == [[[0.0, 2.0, 2.0]]]


def test_padding_counts_in_an_average():
    x = torch.full((1, 1, 2, 2), 8.0)
    grids = dict.fromkeys(("x", "avg_pool2d", "fc.weight", "fc"), UNIT)
    found = simulated(Passed(lambda x: F.avg_pool2d(x, 2, 2, 1)), [x], grids)
    assert found(x).tolist() == [[[[2.0, 2.0], [2.0, 2.0]]]]


@pytest.mark.parametrize("shift", [2, 3, 4, 5, 6])
def test_hardswish_of_every_code_is_the_nearest_code_of_the_exact_fraction(shift):
    step, grid = Fraction(1, 2**shift), Grid(8, (2.0**-shift,))
    codes = range(-128, 128)
    expected = []
    for code in codes:
        x = code * step
        exact = x * min(max(x + 3, Fraction(0)), Fraction(6)) / 6
        expected.append(min(max(round(exact / step), -128), 127))  # Python's round goes half to even
    x = torch.tensor([float(code * step) for code in codes]).reshape(256, 1, 1, 1)
    grids = {"x": grid, "hardswish": grid, "fc.weight": UNIT, "fc": grid}
    assert (simulated(Passed(F.hardswish), [x], grids)(x).flatten() * 2.0**shift).tolist() == expected


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*")
def test_an_input_is_rounded_with_its_zero_point_as_quantize_per_tensor_does():
    grid = Grid.power_of_two(5, 0, signed=False)
    x = torch.linspace(-1, 2, 4001)
    zero_point = 255 - grid.high
    kernel = torch.quantize_per_tensor(x, grid.steps[0], zero_point, torch.quint8).dequantize()
    grids = {"x": grid, "add": grid, "fc.weight": UNIT, "fc": grid}
    found = simulated(Passed(nn.Identity()), [x.reshape(-1, 1, 1, 1)], {**grids, "fc": grid})
    entered = found.sites(x.reshape(-1, 1, 1, 1))["x"].flatten()
    assert torch.equal(entered, kernel.clamp(0, grid.high * grid.steps[0]))


def test_the_bounds_of_a_clamp_lie_on_the_grid_even_in_a_model_that_was_not_constrained():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU6(), nn.Linear(1, 1, bias=False))
    for layer in (model[0], model[2]):
        nn.init.ones_(layer.weight)
    coarse = Grid(2, (4.0,), signed=False)
    grids = {"input": UNIT, "0.weight": UNIT, "0": coarse, "2.weight": UNIT, "2": UNIT}
    x = torch.tensor([[7.0]])
    assert simulated(model, [x], grids)(x).item() == 4.0


def test_a_shared_layer_is_simulated_once_for_each_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(1, 1)

        def forward(self, x):
            return self.fc(F.relu(self.fc(x)))

    grids = {"x": UNIT, "fc.weight": UNIT, "fc": UNIT, "fc__call1": QUARTERS}
    x = torch.tensor([[3.0]])
    assert list(simulated(Twice(), [x], grids).sites(x)) == ["x", "fc", "fc__call1"]

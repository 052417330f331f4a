"""What is kept float is float, wherever it stands and however it is named, in every verb."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mpq_plugins as mpq
from integration_tests.bits import widest
from integration_tests.reading.converting import converted, converted_by_export, error_of
from mpq_torch import fx, litert
from mpq_torch.simulation.simulated_model import SimulatedModel

X = torch.randn(16, 3, 9, 9, generator=torch.Generator().manual_seed(1))


class Gate(nn.Module):
    """A squeeze and excitation block: modules and functional ops."""

    def __init__(self):
        super().__init__()
        self.fc, self.gate = nn.Conv2d(8, 8, 1), nn.Hardsigmoid()

    def forward(self, x):
        return x * self.gate(self.fc(F.adaptive_avg_pool2d(x, 1)))


class Own(nn.Module):
    def forward(self, x):
        return x * torch.erf(1.7 * x)


def network(middle):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), middle, nn.Conv2d(8, 4, 1)).eval()


class Joined(nn.Module):
    """A plane of numbers of the model's own beside those of every sample."""

    def __init__(self):
        super().__init__()
        self.plane = nn.Parameter(torch.full((1, 1, 7, 7), 1.5 / 64))

    def forward(self, x):
        return torch.cat([x[:, 1:], self.plane.expand(len(x), -1, -1, -1)], 1)


KEPT = {
    "a layer": (nn.Conv2d(8, 8, 3), ["2"], ("2",)),
    "a pooling": (nn.AvgPool2d(3, 1, 1), ["2"], ("2",)),
    "a layer and its norm": (nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)), ["2"], ("2.0",)),
    "a norm": (nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(8)), ["2.1"], ("2.1",)),
    "a module of the user's": (Own(), ["2"], ("2.mul", "2.erf", "2.mul_1")),
    "a pattern": (Own(), ["2.*"], ("2.mul", "2.erf", "2.mul_1")),
    "functional ops by name": (Own(), ["2.mul", "2.erf", "2.mul_1"], ("2.mul", "2.erf", "2.mul_1")),
    "a block": (Gate(), ["2"], ("2.adaptive_avg_pool2d", "2.fc", "2.gate", "2.mul")),
    "parts of a block": (Gate(), ["2.gate", "*.mul"], ("2.gate", "2.mul")),
    "a concatenation with a constant": (Joined(), ["2.cat"], ("2.cat.pad0", "2.cat.pad1", "2.cat")),
    "the first layer": (nn.ReLU(), ["0"], ("0",)),
    "the last layer": (nn.ReLU(), ["3"], ("3",)),
}


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_named_is_float_and_the_rest_exact_by_both_ways_to_integers(kind):
    middle, keep, wanted = KEPT[kind]
    model = network(middle)
    recipe = fx.search(
        model, [X], "torch-x86", weight_bits=widest("torch-x86"), activation_bits=8, keep_float=keep, progress=False
    )
    floats = recipe.float_ops
    assert floats == wanted
    assert error_of(converted(model, X, keep), model, X) < 0.05
    converted_by_export(model, X, keep)


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_kept_computes_in_float_what_the_model_computes(kind):
    middle, keep, wanted = KEPT[kind]
    model = network(middle)
    recipe = fx.search(model, [X], "torch-x86", weight_bits=2, activation_bits=8, keep_float=keep, progress=False)
    on_grid = fx.constrain(model, recipe, example_inputs=X)
    own = dict(model.named_modules())
    for name in wanted:
        kept = dict(on_grid.named_modules()).get(name)
        if isinstance(own.get(name), nn.Conv2d) and kind != "a layer and its norm":
            assert torch.equal(kept.weight, own[name].weight)
    kept_weights = {name for name in wanted if isinstance(own.get(name), (nn.Conv2d, nn.BatchNorm2d))}
    assert not {f"{name}.weight" for name in kept_weights} & {entry.site for entry in recipe.weights}
    assert recipe.float_weights == {name: own[name].weight.numel() for name in kept_weights}


def test_verify_and_simulate_take_the_constrained_model_and_the_model_itself():
    model = network(Gate())
    recipe = fx.search(
        model,
        [X],
        "torch-x86",
        weight_bits=widest("torch-x86"),
        activation_bits=8,
        keep_float=["2.gate", "2.mul"],
        progress=False,
    )
    on_grid = fx.constrain(model, recipe, [X])
    again = fx.constrain(on_grid, recipe)
    for simulated in (fx.simulate(on_grid, recipe), fx.simulate(again, recipe)):
        assert isinstance(simulated, SimulatedModel)
        fx.verify(fx.quantize(again, recipe, X), simulated, [X]).raise_if_different()


def test_costs_count_what_is_kept_at_32_bits():
    model = network(nn.Conv2d(8, 8, 3))
    recipe = fx.search(model, [X], "torch-x86", weight_bits=4, activation_bits=8, keep_float=["2"], progress=False)
    quantized, kept = 8 * 3 * 9 + 4 * 8, 8 * 8 * 9
    assert recipe.costs["weight_bytes"] == quantized / 2 + 4 * kept
    assert recipe.average_weight_bits == pytest.approx((4 * quantized + 32 * kept) / (quantized + kept))
    assert fx.inventory(model, X, keep_float=["2"]).float_weights == {"2": kept}


@pytest.mark.parametrize("name", ["no_such_module", "2.ml", "4.*"])
def test_a_name_that_matches_nothing_is_refused(name):
    with pytest.raises(mpq.MPQError, match=r"keep_float names .* which matches nothing in the model"):
        fx.search(network(Own()), [X], "torch-x86", weight_bits=8, activation_bits=8, keep_float=[name])


def test_litert_takes_what_it_can_compute_in_float():
    model = network(nn.Sigmoid())
    recipe = fx.search(model, [X], "litert-po2", weight_bits=8, activation_bits=8, keep_float=["2"], progress=False)
    on_grid = fx.constrain(model, recipe, [X])
    litert.verify(litert.export(on_grid, recipe, X), on_grid, X, recipe).raise_if_different()


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        ({"weight_bits": {"0.wieght": 8, "*": (2, 3)}}, r"weight_bits names '0\.wieght', .*did you mean '0\.weight'"),
        ({"activation_bits": {"inptu": 8, "*": 4}}, r"activation_bits names 'inptu', .*did you mean 'input'"),
    ],
)
def test_a_rule_that_matches_no_site_is_refused_with_the_closest_one(rules, sentence):
    options = {"weight_bits": 8, "activation_bits": 8, **rules}
    with pytest.raises(mpq.UnmatchedName, match=sentence):
        fx.search(network(nn.ReLU()), [X], "torch-x86", budget=mpq.Budget(average_weight_bits=2.5), **options)


def test_a_rule_for_all_may_stand_behind_others_that_leave_it_nothing():
    rules = {"*.weight": 4, "*": 8}
    recipe = fx.search(network(nn.ReLU()), [X], "torch-x86", weight_bits=rules, activation_bits=8, progress=False)
    assert {entry.grid.bits for entry in recipe.weights} == {4}

"""msqe on a measured model of plain arrays, against sums over every element and every choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mpq_plugins import plugins
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import COST_MODELS
from mpq_plugins.errors import CostError, InfeasibleBudget, NonFiniteValues
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.papers.msqe import DAMPING, Msqe
from mpq_plugins.search import method
from mpq_plugins.search_input import Problem
from mpq_plugins.thresholds.histogram import Histogram

RNG = np.random.default_rng(7)
WEIGHTS = {"a.weight": RNG.normal(size=(4, 5)), "b.weight": RNG.normal(size=(3, 4)) * [[1], [8], [0.1]]}
VALUES = {"x": RNG.normal(size=400), "a": np.abs(RNG.normal(size=300)) * 3, "b": RNG.normal(size=200) * 0.2}
ENERGIES = {"x": 2.0, "a": 0.25, "b": 1.0}
# independent inputs: then rounding each weight to nearest is the compensated rounding
VARIANCES = {"a.weight": RNG.uniform(0.5, 2, 5), "b.weight": RNG.uniform(0.5, 2, 4)}
EXPONENTS = range(-12, 8)


def fisher(size, seed):
    g = np.random.default_rng(seed).normal(size=(50, size)) * np.linspace(0.1, 3, size)
    return g.T @ g / 50


def _shape(outputs, inputs, channel_axis):
    return (outputs, inputs) if channel_axis == 0 else (inputs, outputs)


class TwoLayers:
    """x -> linear a -> linear b, as numbers; ``own`` overrides an answer by (method, site)."""

    def __init__(self, group=None, channel_axis=0, **own):
        self.inventory = Inventory(
            [
                Site("x", "activation", "input", (5,)),
                Site("a.weight", "weight", "linear", _shape(4, 5, channel_axis), 20, channel_axis, True, ("x",)),
                Site("a", "activation", "linear", (4,), signed=False, inputs=("x",), group=group),
                Site("b.weight", "weight", "linear", _shape(3, 4, channel_axis), 12, channel_axis, True, ("a",)),
                Site("b", "activation", "linear", (3,), inputs=("a",), group=group),
            ]
        )
        self.own = own

    def weight(self, site):
        return self.own.get("weight", {}).get(site, WEIGHTS[site])

    def bias(self, site):
        return np.zeros(len(WEIGHTS[site]))

    def covariance(self, site):
        return self.own.get("covariance", {}).get(site, np.diag(VARIANCES[site])[None])

    def output_fisher(self, site):
        return self.own.get("fisher", {}).get(site, fisher(len(WEIGHTS[site]), ord(site[0])))

    def histogram(self, site):
        histogram = Histogram()
        histogram.update(VALUES[site].astype(np.float32))
        return histogram

    def gradient_energy(self, site):
        return self.own.get("energy", {}).get(site, ENERGIES[site])


def problem(model=None, bits=(2, 3, 4), activation_bits=(4, 8), budget=None, per_channel=False, **rest):
    model = model or TwoLayers()
    candidates = {}
    for site in model.inventory:
        if site.kind == "weight":
            candidates[site.name] = tuple(Candidate(b, True, per_channel) for b in bits)
        else:
            group = [s for s in model.inventory if s.group is not None and s.group == site.group] or [site]
            candidates[site.name] = tuple(Candidate(b, any(s.signed for s in group), False) for b in activation_bits)
    return Problem(model, plugins.target("generic-po2"), candidates, budget, rest.pop("costs", COST_MODELS), **rest)


def searched(monkeypatch, given):
    """The recipe, and the losses by site and bits that the allocation was given."""
    seen = {}

    def allocate(inventory, candidates, losses, *rest, **more):
        seen.update({name: dict(zip(candidates[name], losses[name], strict=True)) for name in losses})
        return real(inventory, candidates, losses, *rest, **more)

    real = method.allocate
    monkeypatch.setattr(method, "allocate", allocate)
    return Msqe().search(given), seen


def nearest(values, bits, exponent, signed=True):
    step = 2.0 ** (exponent - (bits - signed))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return np.clip(np.rint(values / step), low, high) * step


def best_exponent(values, bits, signed=True):
    return min(EXPONENTS, key=lambda e: np.mean((nearest(values, bits, e, signed) - values) ** 2))


def damped_variances(site):
    return VARIANCES[site] + DAMPING * VARIANCES[site].mean()


def weight_exponent(site, bits, row_weights):
    """Of the three thresholds about the one of least squared error, that of least weighted output error."""
    weight, plain = WEIGHTS[site], best_exponent(WEIGHTS[site], bits)

    def error(exponent):
        change = nearest(weight, bits, exponent) - weight
        return row_weights @ change**2 @ damped_variances(site)

    return min((plain - 1, plain, plain + 1), key=error)


def weight_loss(site, bits, model):
    f = model.output_fisher(site)
    change = nearest(WEIGHTS[site], bits, weight_exponent(site, bits, f.diagonal())) - WEIGHTS[site]
    return 0.5 * np.trace(f @ change @ np.diag(damped_variances(site)) @ change.T)


def test_losses_and_grids_of_weights_are_those_of_the_fisher_formula(monkeypatch):
    model = TwoLayers()
    recipe, losses = searched(monkeypatch, problem(model, budget=Budget(average_weight_bits=4)))
    for site in ("a.weight", "b.weight"):
        assert losses[site] == pytest.approx({b: weight_loss(site, b, model) for b in (2, 3, 4)}, rel=1e-9)
        assert recipe[site].bits == 4
        assert recipe[site].exponent == weight_exponent(site, 4, model.output_fisher(site).diagonal())


def test_losses_and_grids_of_activations_are_squared_error_times_energy(monkeypatch):
    recipe, losses = searched(monkeypatch, problem(budget=Budget(average_weight_bits=4)))
    for site, signed in (("x", True), ("a", False), ("b", True)):
        values = VALUES[site].astype(np.float32).astype(np.float64)
        for bits in (4, 8):
            error = np.mean((nearest(values, bits, best_exponent(values, bits, signed), signed) - values) ** 2)
            assert losses[site][bits] == pytest.approx(0.5 * error * ENERGIES[site], rel=1e-9)
        assert recipe[site].bits == 8
        assert (recipe[site].exponent, recipe[site].signed) == (best_exponent(values, 8, signed), signed)


def test_activations_of_one_group_share_the_grid_that_is_best_for_all_their_values(monkeypatch):
    recipe, losses = searched(monkeypatch, problem(TwoLayers(group="a"), budget=Budget(average_weight_bits=4)))
    assert recipe["a"] == recipe["b"]
    values = np.concatenate([VALUES["a"], VALUES["b"]]).astype(np.float32).astype(np.float64)
    exponent = best_exponent(values, 8)
    assert recipe["a"].exponent == exponent
    for site in ("a", "b"):
        own = VALUES[site].astype(np.float32).astype(np.float64)
        error = np.mean((nearest(own, 8, exponent) - own) ** 2)
        assert losses[site][8] == pytest.approx(0.5 * error * ENERGIES[site], rel=1e-9)


@pytest.mark.parametrize("channel_axis", [0, 1])
def test_per_channel_every_row_gets_the_threshold_of_its_least_output_error(channel_axis):
    recipe = Msqe().search(
        problem(TwoLayers(channel_axis=channel_axis), bits=(3,), activation_bits=(8,), per_channel=True)
    )
    for site, weight in WEIGHTS.items():
        expected = []
        for row in weight:
            plain = best_exponent(row, 3)
            errors = {
                e: (nearest(row, 3, e) - row) ** 2 @ damped_variances(site) for e in (plain - 1, plain, plain + 1)
            }
            expected.append(min(errors, key=errors.get))
        assert recipe[site].exponents == tuple(expected)
        assert recipe[site].axis == channel_axis


@pytest.mark.parametrize("limit", [9, 10, 11, 12, 13, 14, 15, 16])
def test_the_budget_is_spent_as_the_best_of_all_choices_spends_it(monkeypatch, limit):
    given = problem(activation_bits=(8,), budget=Budget(weight_bytes=limit))
    recipe, losses = searched(monkeypatch, given)
    best = np.inf
    for a, b in itertools.product((2, 3, 4), repeat=2):
        if (20 * a + 12 * b) / 8 <= limit:
            best = min(best, losses["a.weight"][a] + losses["b.weight"][b])
    chosen = sum(losses[site][recipe[site].bits] for site in ("a.weight", "b.weight"))
    assert chosen == pytest.approx(best, rel=1e-12)
    assert recipe.weight_bytes <= limit
    assert recipe.costs["weight_bytes"] == recipe.weight_bytes
    assert recipe.budget == {"weight_bytes": limit}
    assert set(recipe.shadow_prices) == {"weight_bytes"}
    assert all(entry.reason for entry in recipe.sites)


def test_a_budget_below_the_fewest_bits_is_infeasible():
    with pytest.raises(InfeasibleBudget, match="smallest reachable value is 8 bytes"):
        Msqe().search(problem(budget=Budget(weight_bytes=7)))


def test_fixed_bits_need_no_budget_and_say_so():
    recipe = Msqe().search(problem(bits=(3,), activation_bits=(8,), meta={"framework": "none"}))
    assert {name: grid.bits for name, grid in recipe.items()} == {"x": 8, "a.weight": 3, "a": 8, "b.weight": 3, "b": 8}
    assert recipe.site("a.weight").reason == "3 bits: the only candidate"
    assert (recipe.method, recipe.target, recipe.meta) == ("msqe", "generic-po2", {"framework": "none"})
    assert recipe.costs["average_weight_bits"] == 3
    assert recipe.costs["bops"] == 20 * 3 * 8 + 12 * 3 * 8


def test_losses_never_rise_with_the_bits(monkeypatch):
    _, losses = searched(monkeypatch, problem(bits=(2, 3, 4, 5, 6, 7, 8), budget=Budget(average_weight_bits=5)))
    for by_bits in losses.values():
        values = [by_bits[bits] for bits in sorted(by_bits)]
        assert values == sorted(values, reverse=True)
        assert min(values) >= 0


def test_a_layer_without_a_gradient_gets_the_threshold_of_its_own_output_error():
    model = TwoLayers(fisher={name: np.zeros((len(w), len(w))) for name, w in WEIGHTS.items()})
    recipe = Msqe().search(problem(model, bits=(3,), activation_bits=(8,)))
    for site, weight in WEIGHTS.items():
        assert recipe[site].exponent == weight_exponent(site, 3, np.ones(len(weight)))


def test_a_layer_whose_input_never_varies_gets_a_grid():
    model = TwoLayers(covariance={"a.weight": np.zeros((1, 5, 5))})
    grid = Msqe().search(problem(model, bits=(4,), activation_bits=(8,)))["a.weight"]
    assert abs(grid.exponent - best_exponent(WEIGHTS["a.weight"], 4)) <= 1


NAN = float("nan")


@pytest.mark.parametrize("budget", [None, Budget(average_weight_bits=4)])
@pytest.mark.parametrize(
    ("own", "site"),
    [
        ({"weight": {"b.weight": np.full((3, 4), NAN)}}, "b.weight"),
        ({"covariance": {"b.weight": np.full((1, 4, 4), NAN)}}, "b.weight"),
        ({"fisher": {"a.weight": np.full((4, 4), NAN)}}, "a.weight"),
        ({"fisher": {"a.weight": np.full((4, 4), np.inf)}}, "a.weight"),
        ({"energy": {"a": NAN}}, "a"),
        ({"energy": {"b": np.inf}}, "b"),
    ],
)
def test_nan_and_infinity_are_refused_by_site(own, site, budget):
    bits = (4,) if budget is None else (2, 4)
    with pytest.raises(NonFiniteValues, match=rf"site '{site}'"), np.errstate(all="ignore"):
        Msqe().search(problem(TwoLayers(**own), bits=bits, activation_bits=(8,), budget=budget))


class Refusing:
    unit = "pJ"

    def rows(self, inventory):
        raise CostError("no energy table for this model")


def test_a_cost_that_cannot_be_told_is_left_out_unless_the_budget_limits_it():
    costs = {**COST_MODELS, "energy": Refusing()}
    recipe = Msqe().search(problem(bits=(3,), activation_bits=(8,), costs=costs))
    assert "energy" not in recipe.costs
    with pytest.raises(CostError, match="no energy table"):
        Msqe().search(problem(costs=costs, budget=Budget(other={"energy": 5})))


def test_the_target_of_the_problem_is_the_recipe_s():
    target = Target(name="npu", ops={"*": {"weight": {}, "activation": {}}})
    given = problem(bits=(3,), activation_bits=(8,))
    recipe = Msqe().search(Problem(given.model, target, given.candidates, None, COST_MODELS))
    assert recipe.target == "npu"

"""The integer programme of ohq, against the hand-worked example, every choice, and its invariants."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins import plugins
from mpq_plugins.allocation.allocator import allocate
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import COST_MODELS, CostRow, cost_of
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.costs.op_table import EnergyTable
from mpq_plugins.errors import BudgetError, InfeasibleBudget, MPQError
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.papers.ohq import Ohq, accuracy_losses, programme, shares_of, sweep
from mpq_plugins.sensitivity.masking import MaskGuided, spread_over_bits
from mpq_plugins.tests.running_model import Running, problem_of

# three layers: elements, Omega, cycles at 4 and at 8 bits
SIZES = {"a": 1000, "b": 4000, "c": 2000}
OMEGA = {"a": 1.0, "b": 0.2, "c": 0.5}
CYCLES = {"a": {4: 10.0, 8: 16.0}, "b": {4: 40.0, 8: 70.0}, "c": {4: 20.0, 8: 36.0}}
BITS = dict.fromkeys(SIZES, (4, 8))
INVENTORY = Inventory(Site(name, "weight", "linear", (size,), 1) for name, size in SIZES.items())
TABLE = LatencyTable(CYCLES)
# (bits of a, b, c): bytes, cycles, F = .5 sum Omega b / 8 - .5 sum T / 122, worked out by hand
CHOICES = {
    (8, 4, 8): (5000, 92, 0.4230),
    (8, 4, 4): (4000, 76, 0.3635),
    (8, 8, 8): (7000, 122, 0.3500),
    (8, 8, 4): (6000, 106, 0.2906),
    (4, 4, 8): (4500, 86, 0.1975),
    (4, 4, 4): (3500, 70, 0.1381),
    (4, 8, 8): (6500, 116, 0.1246),
    (4, 8, 4): (5500, 100, 0.0652),
}


def losses_of(omega, bits, table, alpha=0.5, beta=0.5, inventory=INVENTORY, gain="linear"):
    mask = MaskGuided(gain=gain)
    accuracy = accuracy_losses(spread_over_bits(omega, bits, gain), bits, mask)
    return programme(accuracy, shares_of(table, inventory, bits), {}, alpha, beta)


def solved(budget, table=TABLE, **rest):
    losses = losses_of(OMEGA, BITS, table, **rest)
    models = {**COST_MODELS, "latency_ms": TABLE}
    return tuple(allocate(INVENTORY, BITS, losses, budget, models).bits.values())


@pytest.mark.parametrize(("choice", "expected"), CHOICES.items(), ids=str)
def test_the_programme_gives_every_choice_its_hand_worked_value(choice, expected):
    losses = losses_of(OMEGA, BITS, TABLE)
    total = sum(losses[name][BITS[name].index(b)] for name, b in zip(SIZES, choice, strict=True))
    constant = 0.5 * sum(OMEGA.values())  # the loss is the gain that is missing at most bits
    assert constant - total == pytest.approx(expected[2], abs=5e-5)
    by_site = dict(zip(SIZES, choice, strict=True))
    assert cost_of(COST_MODELS["weight_bytes"], INVENTORY, by_site) == expected[0]
    assert cost_of(TABLE, INVENTORY, by_site) == expected[1]


@pytest.mark.parametrize(("limit", "choice"), [(5000, (8, 4, 8)), (4800, (8, 4, 4)), (3500, (4, 4, 4))])
def test_a_limit_on_bytes_gives_the_hand_worked_choice(limit, choice):
    assert solved(Budget(weight_bytes=limit)) == choice


def test_a_limit_that_nothing_meets_says_what_can_be_reached():
    with pytest.raises(InfeasibleBudget, match="3,500") as error:
        solved(Budget(weight_bytes=3400))
    assert error.value.reachable == {"weight_bytes": 3500}
    with pytest.raises(InfeasibleBudget) as error:
        solved(Budget(latency_ms=69))
    assert error.value.reachable == {"latency_ms": 70}


def test_a_limit_on_latency_counts_as_the_table_does():
    assert solved(Budget(latency_ms=80)) == (8, 4, 4)
    assert pytest.approx(0.246, abs=5e-4) == 1 - 92 / 122  # what (8, 4, 8) saves over all eight


def test_without_weights_of_resources_every_layer_gets_its_most_bits():
    assert solved(Budget(weight_bytes=1e9), beta=0.0) == (8, 8, 8)


def test_without_a_weight_of_accuracy_every_layer_gets_its_cheapest():
    assert solved(Budget(weight_bytes=1e9), alpha=0.0) == (4, 4, 4)


@pytest.mark.parametrize("scale", [1e-6, 3.0, 1e9])
def test_the_scale_of_the_sensitivity_does_not_matter(scale):
    scaled = losses_of({name: scale * value for name, value in OMEGA.items()}, BITS, TABLE)
    plain = losses_of(OMEGA, BITS, TABLE)
    assert all(scaled[name] == pytest.approx(plain[name]) for name in BITS)


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("gain", ["linear", "noise"])
def test_equal_sensitivities_divide_by_nothing(value, gain):
    losses = losses_of(dict.fromkeys(BITS, value), BITS, TABLE, gain=gain)
    assert np.all(np.isfinite(list(losses.values())))


def test_a_site_whose_input_has_no_choice_bears_all_of_its_latency():
    sites = [Site("x", "activation", "input", (3,)), Site("w", "weight", "linear", (2, 3), 6, inputs=("x",))]
    table = LatencyTable({"w": {(4, 8): 1.0, (8, 8): 4.0}})
    shares = shares_of(table, Inventory(sites), {"x": (8,), "w": (4, 8)})
    assert [shares["w"][b] + shares["x"][8] for b in (4, 8)] == [0.25, 1.0]


def test_a_latency_of_two_choices_is_divided_between_them_without_loss_where_it_is_a_sum():
    sites = [Site("x", "activation", "input", (3,)), Site("w", "weight", "linear", (2, 3), 6, inputs=("x",))]
    cost = {(w, a): w + 10.0 * a for w in (4, 8) for a in (4, 8)}
    shares = shares_of(LatencyTable({"w": cost}), Inventory(sites), {"x": (4, 8), "w": (4, 8)})
    for (w, a), value in cost.items():
        assert shares["w"][w] + shares["x"][a] == pytest.approx(value / cost[8, 8])


def test_a_cost_that_is_a_peak_and_no_sum_is_refused():
    class Peak:
        unit = "bytes"

        def rows(self, inventory):
            return (CostRow("one", ()), CostRow("two", ()))

    with pytest.raises(MPQError, match="largest of 2"):
        shares_of(Peak(), INVENTORY, BITS)


def test_a_sweep_of_the_weights_goes_from_most_bits_to_fewest_milliseconds():
    accuracy = accuracy_losses(spread_over_bits(OMEGA, BITS), BITS, MaskGuided())
    found = sweep(accuracy, TABLE, INVENTORY)
    assert found[0][1:] == ({"a": 8, "b": 8, "c": 8}, 122)
    assert found[-1][1:] == ({"a": 4, "b": 4, "c": 4}, 70)
    costs = [cost for _, _, cost in found]
    assert costs == sorted(costs, reverse=True)


def test_rates_on_a_common_scale_are_finite_however_small_the_largest_is():
    rates = {"a": {4: 5e-324, 8: 0.0}, "b": {4: 2.5e-323, 8: 0.0}}
    bits = {"a": (4, 8), "b": (4, 8)}
    assert accuracy_losses(rates, bits, MaskGuided(gain="noise")) == {
        "a": {4: 0.2, 8: 0.0},
        "b": {4: 1.0, 8: 0.0},
    }


def test_without_a_rate_above_zero_nothing_is_lost():
    assert accuracy_losses({"a": {4: -0.1, 8: 0.0}}, {"a": (4, 8)}, MaskGuided(gain="noise")) == {"a": {4: 0.0, 8: 0.0}}


@st.composite
def programmes(draw):
    layers = draw(st.integers(1, 5))
    names = [f"l{i}" for i in range(layers)]
    bits = {name: draw(st.sampled_from([(4, 8), (2, 4, 8), (8,), (2, 3, 4, 5)])) for name in names}
    # a subnormal omega has too few digits left for its rates to be in the proportion of the bits
    omega = {name: draw(st.floats(0, 10, allow_subnormal=False)) for name in names}
    times = {name: {b: draw(st.floats(0.1, 10)) for b in bits[name]} for name in names}
    sizes = {name: draw(st.integers(1, 500)) for name in names}
    part = draw(st.floats(0, 1))
    weights = draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))
    return names, bits, omega, times, sizes, part, weights


@settings(max_examples=60, deadline=None)
@given(programmes())
def test_the_solver_finds_what_trying_every_choice_finds(case):
    names, bits, omega, times, sizes, part, (alpha, beta) = case
    inventory = Inventory(Site(name, "weight", "linear", (sizes[name],), 1) for name in names)
    table = LatencyTable(times)
    every = list(itertools.product(*(bits[name] for name in names)))
    cost = {c: sum(times[n][b] for n, b in zip(names, c, strict=True)) for c in every}
    limit = min(cost.values()) + part * (max(cost.values()) - min(cost.values()))
    # the gain as the paper's sum, from the raw numbers
    most, whole = max(b for o in bits.values() for b in o), sum(times[n][max(bits[n])] for n in names)
    # a layer's own sensitivity counts only relative to the largest of those that can lose anything
    largest = max((omega[n] for n in names if min(bits[n]) < most), default=0.0)

    def gain(choice):
        kept = sum(omega[n] / largest * b / most for n, b in zip(names, choice, strict=True)) if largest > 0 else 0.0
        return alpha * kept - beta * cost[choice] / whole

    best = max(gain(c) for c in every if cost[c] <= limit * (1 + 1e-9))
    losses = losses_of(omega, bits, table, alpha, beta, inventory)
    found = allocate(inventory, bits, losses, Budget(latency_ms=limit), {"latency_ms": table})
    chosen = tuple(found.bits[name] for name in names)
    assert cost[chosen] <= limit * (1 + 1e-9)
    assert gain(chosen) == pytest.approx(best, abs=1e-6)


def test_the_method_explains_every_site_and_stays_within_the_limits():
    model = Running()
    table = LatencyTable({"a.weight": {2: 0.1, 4: 0.2, 8: 0.5}, "b.weight": {2: 0.1, 4: 0.2, 8: 0.4}})
    costs = {**plugins.cost_models(), **table.resources()}
    recipe = plugins.method("ohq").search(problem_of(model, Budget(latency_ms=0.65), costs=costs))
    assert recipe.method == "ohq"
    assert recipe.costs["latency_ms"] <= 0.65
    assert recipe.budget == {"latency_ms": 0.65}
    assert {recipe[name].bits for name in ("x", "a", "b")} == {8}
    assert "mask 2: " in recipe.site("a.weight").reason
    assert "of the latency" in recipe.site("a.weight").reason
    assert recipe.meta["sensitivity"] == "mask"


@pytest.mark.parametrize("measure", ["kl", "sqnr", "fisher", "mask", MaskGuided(mask="quantized", gain="linear")])
def test_any_sensitivity_serves_the_programme(measure):
    recipe = Ohq(measure=measure).search(problem_of(Running(), Budget(average_weight_bits=5)))
    assert recipe.average_weight_bits <= 5
    assert recipe == Ohq(measure=measure).search(problem_of(Running(), Budget(average_weight_bits=5)))


def test_energy_limits_a_search_where_the_device_tells_energies():
    energy = EnergyTable({"a.weight": {2: 1.0, 4: 2.0, 8: 4.0}, "b.weight": {2: 1.0, 4: 2.0, 8: 4.0}})
    table = LatencyTable(
        {"a.weight": dict.fromkeys((2, 4, 8), 1.0), "b.weight": dict.fromkeys((2, 4, 8), 1.0)}, energy=energy
    )
    costs = {**plugins.cost_models(), **table.resources()}
    recipe = Ohq().search(problem_of(Running(), Budget(other={"energy_mj": 4.0}), costs=costs))
    assert recipe.costs["energy_mj"] <= 4.0
    with pytest.raises(InfeasibleBudget) as error:
        Ohq().search(problem_of(Running(), Budget(other={"energy_mj": 1.5}), costs=costs))
    assert error.value.reachable == {"energy_mj": 2.0}


def test_a_latency_limit_without_a_table_says_what_is_missing():
    with pytest.raises(BudgetError, match="latency_ms takes a LatencyTable"):
        Ohq().search(problem_of(Running(), Budget(latency_ms=1)))


def test_fixed_bits_need_no_budget():
    recipe = Ohq().search(problem_of(Running(), weight_bits=4))
    assert recipe.method == "ohq"
    assert recipe.average_weight_bits == 4


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused_by_name(name, value):
    with pytest.raises(MPQError, match=name):
        Ohq(**{name: value})

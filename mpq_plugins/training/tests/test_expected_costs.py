"""Costs of bits that are still real numbers agree with the cost models where they are whole."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import COST_MODELS, CostRow, CostTerm, cost_of
from mpq_plugins.training.plan import TrainingPlan
from mpq_plugins.training.tests.two_layers import INVENTORY

BITS = (2, 3, 5, 8)
RESOURCES = ("weight_bytes", "activation_bytes", "average_weight_bits", "bops")


class Lookup:
    """A measured resource: no formula, and nothing at 32 bits."""

    unit = "ms"

    def rows(self, inventory):
        times = {2: 1.0, 3: 1.5, 5: 1.6, 8: 4.0}
        return [CostRow("all", tuple(CostTerm((w.name,), lambda b: times[b]) for w in inventory.weights))]


def plan(**limits):
    return TrainingPlan.of(
        INVENTORY, "generic-po2", "hmq", Budget(**limits), weight_bits=BITS, activation_bits=BITS, per_channel=False
    )


def everything():
    return plan(weight_bytes=1e6, activation_bytes=1e6, average_weight_bits=8, bops=1e12)


def spent_by(costs, bits):
    return costs.spent(NUMPY, np.array([float(bits[name]) for name in costs.slots]), costs.tables())


def costs(made, bits):
    spent = spent_by(made.costs, bits)
    return {s.resource: float(s.cost) for s in spent}


@settings(deadline=None)  # the first plan loads all plug-ins
@given(st.tuples(*[st.sampled_from(BITS)] * 5))
def test_at_candidates_costs_are_those_of_the_cost_models(choice):
    bits = dict(zip([site.name for site in INVENTORY], choice, strict=True))
    found = costs(everything(), bits)
    for name in RESOURCES:
        assert found[name] == pytest.approx(cost_of(COST_MODELS[name], INVENTORY, bits))


def test_between_candidates_a_linear_cost_is_linear_and_a_product_bilinear():
    bits = {"x": 2.5, "a.weight": 4.25, "a": 6.0, "b.weight": 7.5, "b": 8.0}
    found = costs(everything(), bits)
    assert found["weight_bytes"] == pytest.approx((216 * 4.25 + 1280 * 7.5) / 8)
    assert found["bops"] == pytest.approx(3456 * 4.25 * 2.5 + 1280 * 7.5 * 6.0)
    assert found["activation_bytes"] == pytest.approx(max(48 * 2.5, 48 * 2.5 + 128 * 6, 128 * 6 + 10 * 8) / 8)


def test_a_measured_resource_is_interpolated_between_its_candidates():
    from mpq_plugins.training.expected_costs import ExpectedCosts

    made = everything()
    table = ExpectedCosts.of(INVENTORY, list(made.slots.values()), made.slot_of, {"ms": 5.0}, {"ms": Lookup()})
    bits = {name: np.asarray(8.0) for name in made.slots} | {"a.weight": np.asarray(2.5)}
    (spent,) = spent_by(table, bits)
    assert float(spent.cost) == pytest.approx(1.25 + 4.0)
    assert spent.float_cost == pytest.approx(8.0 * 32 / 8)


def test_a_float_model_costs_32_bits_everywhere():
    spent = {s.resource: s for s in spent_by(everything().costs, dict.fromkeys(everything().slots, 8.0))}
    assert spent["weight_bytes"].float_cost == (216 + 1280) * 4
    assert spent["bops"].float_cost == (3456 + 1280) * 32 * 32


def test_activations_keep_their_most_bits_where_no_limit_counts_them():
    assert plan(weight_bytes=1e6).slots["a"].bits == (8,)
    assert plan(bops=1e12).slots["a"].bits == BITS


def test_own_choices_stand_where_the_budget_allows_them_and_move_least_where_not():
    made = plan(average_weight_bits=5)
    free = {name: {b: abs(b - slot.bits[-1]) for b in slot.bits} for name, slot in made.slots.items()}
    free["a.weight"] = {2: 0.0, 3: 1.0, 5: 2.0, 8: 3.0}
    free["b.weight"] = {2: 3.0, 3: 2.0, 5: 0.0, 8: 1.0}
    bits, reasons = made.choose(free)
    assert (bits["a.weight"], bits["b.weight"]) == (2, 5)
    assert reasons["b.weight"] == "5 bits: learned by hmq"
    free["b.weight"] = {2: 3.0, 3: 2.0, 5: 1.0, 8: 0.0}
    bits, reasons = made.choose(free)
    affordable = [
        (free["a.weight"][a] + free["b.weight"][b], a, b)
        for a, b in itertools.product(BITS, BITS)
        if (216 * a + 1280 * b) / 1496 <= 5
    ]
    assert (bits["a.weight"], bits["b.weight"]) == min(affordable)[1:]
    assert reasons["b.weight"] == "5 bits: hmq learned 8, moved to meet the budget"


def test_a_recipe_carries_reasons_costs_and_the_budget():
    made = plan(average_weight_bits=5)
    bits, reasons = made.choose({n: {b: float(8 - b) for b in s.bits} for n, s in made.slots.items()})
    recipe = made.recipe({n: s.grid(bits[n], 0.25) for n, s in made.slots.items()}, reasons, {"framework": "none"})
    assert recipe.budget == {"average_weight_bits": 5.0}
    assert recipe.costs["average_weight_bits"] == pytest.approx(recipe.average_weight_bits)
    assert recipe.average_weight_bits <= 5
    assert recipe.method == "hmq"

"""What a search chooses when it ends: its own choice where that fits, else the least of what elements would lose."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.costs.budget import Budget
from mpq_plugins.errors import MPQError
from mpq_plugins.papers.activation_rule import activation_bits
from mpq_plugins.papers.fdqmp import Fdqmp
from mpq_plugins.papers.hmq import Hmq
from mpq_plugins.training.plan import TrainingPlan
from mpq_plugins.training.tests.two_layers import INVENTORY

SMALL, LARGE = 216, 1280
BITS = (2, 4, 8)


def plan(limit):
    budget = Budget(average_weight_bits=limit)
    return TrainingPlan.of(INVENTORY, "generic-po2", "hmq", budget, weight_bits=BITS, activation_bits=8)


def chosen(limit, a, b):
    made = plan(limit)
    rest = {name: {8: 0.0} for name in ("x", "a", "b")}
    bits, reasons = made.choose(rest | {"a.weight": a, "b.weight": b})
    return bits["a.weight"], bits["b.weight"], reasons


def test_a_choice_within_the_budget_stays_whatever_the_others_would_cost():
    a, b, reasons = chosen(5, {2: 0.1, 4: 1e-9, 8: 0.0}, {2: 1e-9, 4: 0.0, 8: 1e-9})
    assert (a, b) == (8, 4)
    assert reasons["a.weight"] == "8 bits: learned by hmq"


def test_of_two_layers_the_one_that_is_less_decided_pays_for_the_budget_however_large_it_is():
    a, b, reasons = chosen(4, {2: 9.0, 4: 5.0, 8: 0.0}, {2: 0.3, 4: 0.2, 8: 0.0})
    assert (a, b) == (8, 2)
    assert reasons["b.weight"] == "2 bits: hmq learned 8, moved to meet the budget"


def rows():
    return st.tuples(st.sampled_from(BITS), *[st.floats(0.01, 5)] * 3).map(
        lambda drawn: {b: 0.0 if b == drawn[0] else cost for b, cost in zip(BITS, drawn[1:], strict=True)}
    )


@settings(deadline=None, max_examples=60)
@given(st.floats(2, 8), rows(), rows())
def test_the_choice_is_the_best_of_all_that_fit(limit, a, b):
    def spent(x, y):
        return (SMALL * x + LARGE * y) / (SMALL + LARGE)

    fits = [(SMALL * a[x] + LARGE * b[y]) for x, y in itertools.product(BITS, BITS) if spent(x, y) <= limit + 1e-9]
    x, y, _ = chosen(limit, a, b)
    assert spent(x, y) <= limit * (1 + 1e-9)
    assert SMALL * a[x] + LARGE * b[y] == pytest.approx(min(fits), rel=1e-4)


@pytest.mark.parametrize(
    "budget", [Budget(average_weight_bits=3), Budget(average_weight_bits=3, activation_bytes=4096)]
)
def test_a_methods_rule_for_activations_holds_under_a_budget_of_weights_alone(budget):
    method = Hmq(activation_rate=8.0)
    made = TrainingPlan.of(INVENTORY, "generic-po2", method, budget, weight_bits=BITS, activation_bits=(4, 6, 8))
    sizes = {name: slot.elements for name, slot in made.slots.items() if slot.kind == "activation"}
    expected = activation_bits(sizes, 8.0, dict.fromkeys(sizes, (4, 6, 8)))
    assert len(set(expected.values())) > 1
    assert {name: made.slots[name].bits for name in sizes} == {name: (bits,) for name, bits in expected.items()}


def test_a_penalty_in_kilobytes_is_refused_before_a_search_under_another_budget():
    with pytest.raises(MPQError, match="average_weight_bits is no number of bytes"):
        TrainingPlan.of(INVENTORY, "generic-po2", Fdqmp(kilobytes=True), Budget(average_weight_bits=3))

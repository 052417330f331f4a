from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.allocation.allocator import allocate
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import COST_MODELS, cost_of
from mpq_plugins.errors import InfeasibleBudget
from mpq_plugins.tests.allocation_problems import at_bits, budget_of, chain, every_choice, loss_of, problems


@settings(max_examples=120, deadline=None)
@given(problems(), st.data())
def test_the_allocation_is_the_best_of_all_choices(problem, data):
    inventory, candidates, losses, models = problem
    choices = list(every_choice(inventory, candidates))
    values = {name: sorted({model.value(bits) for bits in choices}) for name, model in models.items()}
    limits = {name: max(0.5, data.draw(st.sampled_from(values[name]))) for name in models}
    # sums of floats in another order differ in their last digits
    feasible = [b for b in choices if all(models[name].value(b) <= limits[name] * (1 + 1e-12) for name in models)]
    if not feasible:
        with pytest.raises(InfeasibleBudget) as error:
            allocate(inventory, candidates, losses, budget_of(limits), models)
        assert error.value.reachable == pytest.approx({name: values[name][0] for name in models})
        return
    allocation = allocate(inventory, candidates, losses, budget_of(limits), models)
    best = min(loss_of(bits, candidates, losses) for bits in feasible)
    size = max(abs(x) for options in losses.values() for x in options)
    assert allocation.bits in feasible
    assert allocation.loss == pytest.approx(loss_of(allocation.bits, candidates, losses), rel=1e-12, abs=1e-12 * size)
    assert allocation.loss == pytest.approx(best, rel=1e-8, abs=1e-8 * size)
    assert allocation.bound <= allocation.loss
    assert allocation.gap < 1e-6
    for name, cost in allocation.costs.items():
        assert cost.value == pytest.approx(models[name].value(allocation.bits))
        assert cost.limit == limits[name]
        assert cost.price >= 0


@settings(max_examples=60, deadline=None)
@given(problems(), st.data())
def test_a_tighter_limit_never_lowers_the_loss(problem, data):
    inventory, candidates, losses, models = problem
    name = data.draw(st.sampled_from(sorted(models)))
    values = sorted({models[name].value(bits) for bits in every_choice(inventory, candidates)})
    found = [
        allocate(inventory, candidates, losses, budget_of({name: max(limit, 0.5)}), {name: models[name]}).loss
        for limit in values
    ]
    size = max(abs(x) for options in losses.values() for x in options)
    assert all(loose <= tight + 1e-9 * size for tight, loose in itertools.pairwise(found))


def test_weights_and_activations_share_a_budget_of_bops_memory_and_peak():
    inventory, candidates, losses = chain(3, bits=(2, 4, 8))
    limits = {name: 1.1 * at_bits(inventory, 4, name) for name in ("bops", "weight_bytes", "activation_bytes")}
    best = min(
        loss_of(bits, candidates, losses)
        for bits in every_choice(inventory, candidates)
        if all(cost_of(COST_MODELS[name], inventory, bits) <= limit for name, limit in limits.items())
    )
    allocation = allocate(inventory, candidates, losses, Budget(**limits))
    assert allocation.loss == pytest.approx(best, rel=1e-9)
    for name, limit in limits.items():
        assert allocation.costs[name].value == pytest.approx(cost_of(COST_MODELS[name], inventory, allocation.bits))
        assert allocation.costs[name].value <= limit


def test_the_shadow_price_is_the_loss_that_one_more_unit_saves():
    inventory, candidates, losses = chain(120, seed=1, inputs=False)
    limits = {name: 0.98 * at_bits(inventory, 4, name) for name in ("weight_bytes", "bops")}
    here = allocate(inventory, candidates, losses, Budget(**limits))
    assert here.gap <= 1e-4
    for name in limits:
        step = 0.01 * limits[name]
        more = allocate(inventory, candidates, losses, Budget(**limits | {name: limits[name] + step}))
        less = allocate(inventory, candidates, losses, Budget(**limits | {name: limits[name] - step}))
        assert here.shadow_prices[name] > 0
        assert more.loss < here.loss < less.loss
        assert (less.loss - more.loss) / (2 * step) == pytest.approx(here.shadow_prices[name], rel=0.05)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 3.0, 1e9, 1e30])
def test_scaling_the_losses_leaves_the_choice_unchanged(scale):
    inventory, candidates, losses = chain(12, seed=3)
    budget = Budget(weight_bytes=0.9 * at_bits(inventory, 4, "weight_bytes"), bops=at_bits(inventory, 4, "bops"))
    here = allocate(inventory, candidates, losses, budget)
    scaled = allocate(inventory, candidates, {name: scale * loss for name, loss in losses.items()}, budget)
    assert scaled.bits == here.bits
    assert scaled.loss == pytest.approx(scale * here.loss, rel=1e-12)
    assert scaled.shadow_prices["bops"] == pytest.approx(scale * here.shadow_prices["bops"], rel=1e-6)


@pytest.mark.parametrize("forced", [False, True])
def test_one_huge_loss_does_not_blur_the_small_ones(forced):
    inventory, candidates, losses = chain(3, bits=(2, 4, 8))
    losses["w1"] = np.array([1e13, 1e9, 0.0])
    losses["a0"] = losses["a0"] * 1e-3
    limits = {"weight_bytes": 0.99 * at_bits(inventory, 4, "weight_bytes"), "bops": at_bits(inventory, 8, "bops")}
    if forced:
        limits["weight_bytes"] = 1.01 * at_bits(inventory, 2, "weight_bytes")
    feasible = [
        bits
        for bits in every_choice(inventory, candidates)
        if all(cost_of(COST_MODELS[name], inventory, bits) <= limit for name, limit in limits.items())
    ]
    best = min(feasible, key=lambda bits: sum(Fraction(losses[n][candidates[n].index(b)]) for n, b in bits.items()))
    allocation = allocate(inventory, candidates, losses, Budget(**limits))
    assert (allocation.loss > 1e8) == forced
    assert allocation.bits == best


def test_the_same_problem_gives_the_same_answer():
    inventory, candidates, _ = chain(15)
    losses = {name: np.round(4.0 ** -np.array(bits), 3) for name, bits in candidates.items()}
    budget = Budget(bops=at_bits(inventory, 4, "bops"))
    first, second = (allocate(inventory, candidates, losses, budget) for _ in range(2))
    assert first == second


def test_a_large_problem_stops_within_its_gap_and_says_how_far_it_is():
    inventory, candidates, losses = chain(2000, seed=2, inputs=False)
    limit = 0.97 * at_bits(inventory, 4, "weight_bytes")
    allocation = allocate(inventory, candidates, losses, Budget(weight_bytes=limit))
    assert 0 <= allocation.gap <= 1e-4
    # weak duality at the returned price, computed here: no choice can be below it
    price = allocation.shadow_prices["weight_bytes"]
    dual = -price * limit
    for site in inventory:
        priced = [
            loss + (price * site.elements * b / 8 if site.kind == "weight" else 0.0)
            for b, loss in zip(candidates[site.name], losses[site.name], strict=True)
        ]
        dual += min(priced)
    assert dual - 1e-9 <= allocation.loss
    assert allocation.loss - dual <= 1e-4 * allocation.loss
    assert allocation.bound <= allocation.loss
    assert allocation.costs["weight_bytes"].value <= limit

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mpq_plugins.allocation.allocator import allocate
from mpq_plugins.allocation.pareto import pareto
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import COST_MODELS, cost_of
from mpq_plugins.errors import AllocationError, BudgetError, InfeasibleBudget
from mpq_plugins.inventory import Inventory, Site

BITS = (2, 3, 4, 6, 8)


def layers(count=6, seed=0):
    rng = np.random.default_rng(seed)
    sites = [
        Site(f"w{at}", "weight", "linear", (int(rng.integers(10, 3000)),), macs=int(rng.integers(1000, 90000)))
        for at in range(count)
    ]
    losses = {site.name: (rng.uniform(1, 9) * 4.0 ** -np.array(BITS)).tolist() for site in sites}
    return Inventory(sites), {site.name: BITS for site in sites}, losses


def test_the_points_ascend_in_cost_and_descend_in_loss():
    front = pareto(*layers(), "weight_bytes", points=12)
    assert len(front) > 6
    for one, two in itertools.pairwise(front):
        assert one.costs["weight_bytes"].value < two.costs["weight_bytes"].value
        assert one.loss > two.loss


def test_the_front_reaches_from_the_cheapest_choice_to_that_of_lowest_loss():
    front = pareto(*layers(), "weight_bytes", points=5)
    assert set(front[0].bits.values()) == {2}
    assert set(front[-1].bits.values()) == {8}


def test_each_point_is_what_a_solve_of_its_own_gives_and_no_choice_dominates_it():
    inventory, candidates, losses = layers(4)
    front = pareto(inventory, candidates, losses, "weight_bytes", points=9, gap=0)
    names = list(candidates)
    sizes = np.array([inventory[name].elements for name in names]) / 8
    everything = [
        (float(sizes @ np.array(bits)), sum(losses[n][BITS.index(b)] for n, b in zip(names, bits, strict=True)))
        for bits in itertools.product(BITS, repeat=len(names))
    ]
    for point in front:
        cost = point.costs["weight_bytes"]
        alone = allocate(inventory, candidates, losses, Budget(weight_bytes=cost.limit))
        assert alone == point
        assert not any(c <= cost.value + 1e-9 and loss < point.loss - 1e-9 for c, loss in everything)


def test_limits_of_other_resources_hold_at_every_point():
    inventory, candidates, losses = layers()
    bops = cost_of(COST_MODELS["bops"], inventory, dict.fromkeys(candidates, 4))
    front = pareto(inventory, candidates, losses, "weight_bytes", budget=Budget(bops=bops, weight_bytes=1), points=8)
    assert all(point.costs["bops"].value <= bops for point in front)
    assert len(front) > 2
    free = pareto(inventory, candidates, losses, "weight_bytes", points=8)
    assert front[-1].loss > free[-1].loss


def test_given_limits_are_solved_and_those_out_of_reach_left_out():
    inventory, candidates, losses = layers()
    least = cost_of(COST_MODELS["weight_bytes"], inventory, dict.fromkeys(candidates, 2))
    front = pareto(inventory, candidates, losses, "weight_bytes", limits=[2 * least, 0.9 * least, 3 * least])
    assert [point.costs["weight_bytes"].limit for point in front] == [2 * least, 3 * least]


def test_a_sweep_without_a_reachable_point_says_what_can_be_reached():
    inventory, candidates, losses = layers()
    least = cost_of(COST_MODELS["weight_bytes"], inventory, dict.fromkeys(candidates, 2))
    with pytest.raises(InfeasibleBudget) as error:
        pareto(inventory, candidates, losses, "weight_bytes", limits=[0.5 * least, 0.6 * least])
    assert error.value.reachable == {"weight_bytes": pytest.approx(least)}
    with pytest.raises(InfeasibleBudget, match="bops is limited to 1 "):
        pareto(inventory, candidates, losses, "weight_bytes", budget=Budget(bops=1))


def test_a_front_of_one_choice_is_one_point():
    inventory, candidates, losses = layers(2)
    front = pareto(inventory, dict.fromkeys(candidates, (4,)), dict.fromkeys(losses, (1.0,)), "weight_bytes")
    assert [set(point.bits.values()) for point in front] == [{4}]


def test_a_sweep_of_one_point_or_of_an_unknown_resource_is_refused():
    with pytest.raises(AllocationError, match="2 points or more, got 1"):
        pareto(*layers(), "weight_bytes", points=1)
    with pytest.raises(BudgetError, match="no cost model for joules"):
        pareto(*layers(), "joules")

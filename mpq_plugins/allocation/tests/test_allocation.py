from __future__ import annotations

import numpy as np
import pytest

from mpq_plugins.allocation.allocator import allocate
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import AllocationError, BudgetError, InfeasibleBudget, NonFiniteValues
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.tests.allocation_problems import Tabled, chain

# OHQ (arXiv 2309.01945), three layers worked by hand: F = .5 * sum omega * bits / 8 - .5 * cycles / 122
OHQ_SIZES, OMEGA, CYCLES = (1000, 4000, 2000), (1.0, 0.2, 0.5), ((10, 16), (40, 70), (20, 36))


def ohq():
    sites = [Site(f"l{at}", "weight", "linear", (size,)) for at, size in enumerate(OHQ_SIZES)]
    candidates = {site.name: (4, 8) for site in sites}
    losses = {
        site.name: [-(0.5 * omega * b / 8 - 0.5 * t / 122) for b, t in zip((4, 8), cycles, strict=True)]
        for site, omega, cycles in zip(sites, OMEGA, CYCLES, strict=True)
    }
    return Inventory(sites), candidates, losses


@pytest.mark.parametrize(
    ("limit", "bits", "objective", "size"),
    [
        (7000, (8, 4, 8), 0.4230, 5000),
        (5000, (8, 4, 8), 0.4230, 5000),
        (4800, (8, 4, 4), 0.3635, 4000),
        (3500, (4, 4, 4), 0.1381, 3500),
    ],
)
def test_the_hand_example_of_ohq_is_solved_as_by_hand(limit, bits, objective, size):
    allocation = allocate(*ohq(), Budget(weight_bytes=limit))
    assert tuple(allocation.bits.values()) == bits
    assert -allocation.loss == pytest.approx(objective, abs=5e-5)
    assert allocation.costs["weight_bytes"].value == size
    assert allocation.gap == 0


def test_a_budget_nobody_can_meet_names_the_smallest_reachable_value():
    with pytest.raises(InfeasibleBudget) as error:
        allocate(*ohq(), Budget(weight_bytes=3400))
    assert error.value.reachable == {"weight_bytes": 3500.0}
    assert "weight_bytes is limited to 3,400 and its smallest reachable value is 3,500 bytes" in str(error.value)


def test_latency_limits_the_choice_like_any_resource():
    inventory, candidates, losses = ohq()
    table = LatencyTable(
        {f"l{at}": dict(zip((4, 8), cycles, strict=True)) for at, cycles in enumerate(CYCLES)}, overhead_ms=1.0
    )
    allocation = allocate(inventory, candidates, losses, Budget(latency_ms=77), {"latency_ms": table})
    assert tuple(allocation.bits.values()) == (8, 4, 4)
    assert allocation.costs["latency_ms"].value == 77
    with pytest.raises(InfeasibleBudget) as error:
        allocate(inventory, candidates, losses, Budget(latency_ms=70.5), {"latency_ms": table})
    assert error.value.reachable == {"latency_ms": 71.0}


def test_limits_that_can_be_met_alone_but_not_together_are_said_to_be_so():
    sites = Inventory([Site("a", "weight", "linear", (1,)), Site("b", "weight", "linear", (1,))])
    rises, falls = {(2,): 1.0, (4,): 9.0}, {(2,): 9.0, (4,): 1.0}
    models = {"bops": Tabled([{("a",): rises}]), "weight_bytes": Tabled([{("a",): falls}])}
    with pytest.raises(InfeasibleBudget) as error:
        allocate(sites, {"a": (2, 4)}, {"a": (0.0, 0.0)}, Budget(bops=5, weight_bytes=5), models)
    assert "can be met alone" in str(error.value)
    assert "but not all together" in str(error.value)
    assert "raise weight_bytes to 9 or bops to 9" in str(error.value)
    assert error.value.reachable == {"bops": 1.0, "weight_bytes": 1.0}


def test_a_budget_that_does_not_bind_has_no_price_and_gives_every_site_its_lowest_loss():
    inventory, candidates, losses = chain(4)
    allocation = allocate(inventory, candidates, losses, Budget(weight_bytes=1e9))
    assert allocation.shadow_prices == {"weight_bytes": 0.0}
    assert allocation.bits == {name: bits[int(np.argmin(losses[name]))] for name, bits in candidates.items()}
    assert allocation.gap == 0


def test_sites_of_a_group_choose_together_among_what_all_of_them_have():
    sites = [Site("a", "activation", "add", (8,), group="g"), Site("b", "activation", "add", (8,), group="g")]
    inventory = Inventory(sites, live=[("a", "b")])
    candidates = {"a": (2, 4, 6), "b": (8, 6, 4)}
    losses = {"a": (9.0, 1.0, 0.0), "b": (0.0, 0.5, 2.0)}
    allocation = allocate(inventory, candidates, losses, Budget(activation_bytes=100))
    assert allocation.bits == {"a": 6, "b": 6}
    assert allocation.loss == 0.5
    tighter = allocate(inventory, candidates, losses, Budget(activation_bytes=8))
    assert tighter.bits == {"a": 4, "b": 4}
    assert tighter.loss == 3.0
    assert tighter.reasons["b"].endswith("; shares its grid with a")


def test_sites_with_one_candidate_or_no_cost_are_allocated_too():
    sites = [
        Site("fixed", "weight", "linear", (80,)),
        Site("free", "weight", "linear", (0, 8)),
        Site("w", "weight", "linear", (80,)),
    ]
    candidates = {"fixed": (8,), "free": (2, 8), "w": (2, 4, 8)}
    losses = {"free": (1.0, 0.0), "w": (9.0, 1.0, 0.0)}
    allocation = allocate(Inventory(sites), candidates, losses, Budget(weight_bytes=130))
    assert allocation.bits == {"fixed": 8, "free": 8, "w": 4}
    assert allocation.reasons["fixed"] == "8 bits: its only candidate"
    assert allocation.reasons["free"] == "8 bits, its most: no candidate has a lower loss"


def test_among_candidates_of_equal_loss_a_site_takes_the_fewest_bits():
    inventory = Inventory([Site(name, "weight", "linear", (10,)) for name in "ab"])
    candidates = {"a": (8, 4, 2), "b": (8, 4, 2)}
    losses = {"a": (0.0, 0.0, 1.0), "b": (3.0, 3.0, 3.0)}
    for limit in (1000, 10):
        assert allocate(inventory, candidates, losses, Budget(weight_bytes=limit)).bits == {"a": 4, "b": 2}


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_refused_by_site_and_bits(bad):
    inventory, candidates, losses = ohq()
    losses["l1"] = [0.5, bad]
    with pytest.raises(NonFiniteValues, match=f"the loss of l1 is {bad} at 8 bits"):
        allocate(inventory, candidates, losses, Budget(weight_bytes=5000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, lo: lo.update(l1=[0.5]), r"l1 has 2 candidates \[4, 8\] and 1 losses"),
        (lambda c, lo: lo.pop("l1"), r"l1 has 2 candidates \[4, 8\] and no losses"),
        (lambda c, lo: c.update(l1=(4, 4)), "candidates of l1 must be different"),
        (lambda c, lo: c.update(l1=()), "candidates of l1 must be different"),
        (lambda c, lo: c.update(l1=(4.5, 8)), "candidates of l1 must be different whole bits"),
        (lambda c, lo: (c.pop("l1"), lo.pop("l1")), r"weight_bytes counts sites that have no candidates: l1"),
        (lambda c, lo: c.pop("l1"), "losses are given for sites without candidates: l1"),
        (lambda c, lo: (c.update(zz=(4,)), lo.update(zz=[0])), "the inventory does not have: zz"),
        (lambda c, lo: (c.clear(), lo.clear()), "no site to choose bits for"),
    ],
)
def test_candidates_and_losses_that_do_not_fit_are_named(change, message):
    inventory, candidates, losses = ohq()
    change(candidates, losses)
    with pytest.raises(AllocationError, match=message):
        allocate(inventory, candidates, losses, Budget(weight_bytes=5000))


def test_a_group_without_a_common_candidate_or_with_a_missing_site_is_named():
    inventory = Inventory([Site(name, "weight", "linear", (8,), group="g") for name in "ab"])
    losses = {"a": (1.0, 0.0), "b": (1.0, 0.0)}
    with pytest.raises(AllocationError, match=r"group 'g' .* \(a: \[2, 4\]; b: \[6, 8\]\)"):
        allocate(inventory, {"a": (2, 4), "b": (6, 8)}, losses, Budget(weight_bytes=9))
    with pytest.raises(AllocationError, match=r"group 'g' choose together; candidates are missing for b"):
        allocate(inventory, {"a": (2, 4)}, {"a": (1.0, 0.0)}, Budget(weight_bytes=9))


def test_a_limit_without_a_cost_model_is_named_with_the_way_out():
    with pytest.raises(BudgetError, match=r"no cost model for latency_ms; .* takes a LatencyTable"):
        allocate(*ohq(), Budget(latency_ms=3))


def test_it_prints_what_it_costs_and_why():
    text = str(allocate(*ohq(), Budget(weight_bytes=4800)))
    assert "weight bytes: 4,000 of 4,800 bytes" in text
    assert "l1: 4 bits, its least: no candidate has a lower loss" in text

from __future__ import annotations

import itertools
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.allocation import allocate
from mpq_plugins.budget import Budget
from mpq_plugins.costs import COST_MODELS, CostRow, CostTerm, cost_of
from mpq_plugins.errors import AllocationError, BudgetError, InfeasibleBudget, NonFiniteValues
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.latency_table import LatencyTable

BITS = (2, 3, 4, 6, 8)


class Tabled:
    """A cost model from tables: rows of {(sites): {(bits): cost}}."""

    unit = "units"

    def __init__(self, rows):
        self.tables = rows

    def rows(self, inventory):
        return [
            CostRow(f"row {at}", [CostTerm(sites, lambda *b, t=table: t[b]) for sites, table in row.items()])
            for at, row in enumerate(self.tables)
        ]

    def __repr__(self):
        return f"Tabled({self.tables})"

    def value(self, bits):
        return max(sum(t[tuple(bits[s] for s in sites)] for sites, t in row.items()) for row in self.tables)


@st.composite
def problems(draw):
    """A few sites, some in groups, and up to three resources with linear, paired and peak costs."""
    count = draw(st.integers(1, 5))
    groups = [draw(st.sampled_from([None, None, "g", "h"])) for _ in range(count)]
    sites = [Site(f"s{at}", "weight", "linear", (1,), group=group) for at, group in enumerate(groups)]
    by_group = {}
    candidates, losses = {}, {}
    for site in sites:
        options = draw(st.lists(st.sampled_from(BITS), min_size=1, max_size=3, unique=True))
        if site.group:
            options = by_group.setdefault(site.group, options)
        candidates[site.name] = options
        losses[site.name] = [draw(st.floats(-1, 1)) * 10.0 ** draw(st.integers(-3, 3)) for _ in options]
    names = [site.name for site in sites]
    models = {}
    for resource in draw(st.lists(st.sampled_from(["bops", "weight_bytes", "energy"]), min_size=1, unique=True)):
        rows = []
        for _ in range(draw(st.integers(1, 3))):
            row = {}
            for _ in range(draw(st.integers(0, 4))):
                key = tuple(draw(st.lists(st.sampled_from(names), max_size=2, unique=True)))
                options = itertools.product(*(candidates[name] for name in key))
                row[key] = {bits: float(draw(st.integers(0, 20))) for bits in options}
            rows.append(row)
        models[resource] = Tabled(rows)
    return Inventory(sites), candidates, losses, models


def every_choice(inventory, candidates):
    groups = [[site.name for site in sites] for sites in inventory.groups().values()]
    options = [candidates[group[0]] for group in groups]
    for choice in itertools.product(*options):
        yield {name: b for group, b in zip(groups, choice, strict=True) for name in group}


def loss_of(bits, candidates, losses):
    return sum(losses[name][list(candidates[name]).index(b)] for name, b in bits.items())


def budget_of(limits):
    own = {name: limit for name, limit in limits.items() if name != "energy"}
    return Budget(**own, other={name: limit for name, limit in limits.items() if name == "energy"})


@settings(max_examples=250, deadline=None)
@given(problems(), st.data())
def test_the_allocation_is_the_best_of_all_choices(problem, data):
    inventory, candidates, losses, models = problem
    choices = list(every_choice(inventory, candidates))
    values = {name: sorted({model.value(bits) for bits in choices}) for name, model in models.items()}
    limits = {name: max(0.5, data.draw(st.sampled_from(values[name]))) for name in models}
    feasible = [b for b in choices if all(models[name].value(b) <= limits[name] for name in models)]
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


# papers/ohq.md section 6: three layers, F = .5 * sum omega * bits / 8 - .5 * cycles / 122
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


def chain(count, seed=0, bits=tuple(range(2, 9)), inputs=True):
    """A chain of layers with random sizes and losses that fall fourfold with each bit."""
    rng = np.random.default_rng(seed)
    sites = [Site("x", "activation", "input", (64,))]
    for at in range(count):
        before = sites[-1].name
        shape = (int(rng.integers(10, 3000)), 3)
        macs = int(rng.integers(1000, 100000))
        sites.append(Site(f"w{at}", "weight", "linear", shape, macs=macs, inputs=(before,) if inputs else ()))
        sites.append(Site(f"a{at}", "activation", "linear", (int(rng.integers(10, 500)),)))
    acts = [site.name for site in sites if site.kind == "activation"]
    candidates = {s.name: bits if inputs or s.kind == "weight" else (8,) for s in sites}
    losses = {
        s.name: np.exp(rng.normal(0, 1))
        * 4.0 ** -np.array(candidates[s.name])
        * rng.uniform(0.8, 1, len(candidates[s.name]))
        for s in sites
    }
    return Inventory(sites, itertools.pairwise(acts)), candidates, losses


def at_bits(inventory, bits, name):
    return cost_of(COST_MODELS[name], inventory, dict.fromkeys((s.name for s in inventory), bits))


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
    inventory, candidates, losses = chain(1000, seed=1, inputs=False)
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


def test_a_budget_that_does_not_bind_has_no_price_and_gives_every_site_its_lowest_loss():
    inventory, candidates, losses = chain(4)
    allocation = allocate(inventory, candidates, losses, Budget(weight_bytes=1e9))
    assert allocation.shadow_prices == {"weight_bytes": 0.0}
    assert allocation.bits == {name: bits[int(np.argmin(losses[name]))] for name, bits in candidates.items()}
    assert allocation.gap == 0


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


NUMBER = r"([-+\d.,e]+)"


@pytest.mark.parametrize("seed", range(6))
def test_every_reason_is_true(seed):
    inventory, candidates, losses = chain(8, seed=seed)
    limits = {name: 0.9 * at_bits(inventory, 4, name) for name in ("bops", "weight_bytes", "activation_bytes")}
    here = allocate(inventory, candidates, losses, Budget(**limits))
    seen = set()

    def number(text):
        return float(text.replace(",", ""))

    for site, reason in here.reasons.items():
        own = here.bits[site]
        options = list(candidates[site])
        assert re.match(rf"{own} bits(, its (least|most))?: ", reason)
        assert (", its least" in reason) == (own == min(options))
        assert (", its most" in reason) == (own == max(options))
        now = losses[site][options.index(own)]
        if match := re.search(rf"(\d+) would (lower|raise) the loss by {NUMBER}", reason):
            other = int(match[1])
            change = losses[site][options.index(other)] - now
            assert abs(change) == pytest.approx(number(match[3]), rel=0.006)
            assert (change < 0) == (match[2] == "lower")
            swapped = {n: cost_of(COST_MODELS[n], inventory, here.bits | {site: other}) for n in limits}
            if worth := re.search(rf"(less|more) than the {NUMBER} that (.*) c", reason):
                seen.add(worth[1])
                assert (abs(change) < number(worth[2])) == (worth[1] == "less")
                amounts = dict(part.split(" ", 1)[::-1] for part in worth[3].split(" and "))
                total = 0.0
                for name, amount in amounts.items():
                    resource = name.replace(" ", "_")
                    if resource == "activation_bytes":
                        size = inventory[site].elements * abs(other - own) / 8
                        assert number(amount) == pytest.approx(size, rel=1e-3)
                        continue
                    difference = abs(swapped[resource] - here.costs[resource].value)
                    assert number(amount) == pytest.approx(difference, rel=1e-3)
                    total += difference * here.shadow_prices[resource]
                if "activation bytes" not in amounts:
                    assert total == pytest.approx(number(worth[2]), rel=0.006)
            else:
                seen.add("needs")
                needs = re.search(rf"needs {NUMBER} more (.*), and {NUMBER} are left", reason)
                assert number(needs[1]) > number(needs[3])
                assert any(swapped[name] > limit for name, limit in limits.items())
                resource = needs[2].replace(" ", "_")
                if resource != "activation_bytes":
                    assert number(needs[1]) == pytest.approx(swapped[resource] - here.costs[resource].value, rel=1e-3)
                    assert number(needs[3]) == pytest.approx(limits[resource] - here.costs[resource].value, rel=1e-3)
        else:
            seen.add("lowest")
            assert reason.endswith("no candidate has a lower loss")
            assert now == min(losses[site])
    assert "less" in seen


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

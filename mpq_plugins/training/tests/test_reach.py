"""Budgets that a search cannot reach in its steps: said before it begins, and on the way by its pace."""

import pytest

from mpq_plugins.costs.budget import Budget
from mpq_plugins.papers.fdqmp import Fdqmp
from mpq_plugins.papers.hmq import Hmq
from mpq_plugins.papers.msqe import Msqe
from mpq_plugins.papers.sdq import Sdq
from mpq_plugins.training.history import Record
from mpq_plugins.training.plan import TrainingPlan
from mpq_plugins.training.reach import notice_at_start, notice_on_the_way, uniform_bits
from mpq_plugins.training.tests.two_layers import INVENTORY

BITS = (2, 3, 4, 6, 8)
LIMITS = {"average_weight_bits": 3.0}


def plan(method, activation_bits=8, **limits):
    budget = Budget(**limits) if limits else None
    return TrainingPlan.of(INVENTORY, "generic-po2", method, budget, BITS if limits else 4, activation_bits)


def records(*costs, every=10):
    return [Record(k * every, 0.0, {}, {}, {}, {"average_weight_bits": cost}) for k, cost in enumerate(costs)]


@pytest.mark.parametrize(
    ("limits", "bits"),
    [({"average_weight_bits": 3.5}, 3.5), ({"weight_bytes": 1496 * 5 / 8}, 5), ({"average_weight_bits": 9}, 8)],
)
def test_the_bits_that_all_sites_could_have_alike(limits, bits):
    assert uniform_bits(plan("hmq", **limits)) == pytest.approx(bits)


def test_products_of_bits_count_as_in_training():
    """MACs x weight bits x input bits: at b bits everywhere 4,736 b^2, between candidates a little above that."""
    assert uniform_bits(plan("hmq", BITS, bops=4736 * 16)) == pytest.approx(4)


@pytest.mark.parametrize(
    ("method", "needed"),
    [
        (Sdq(), 49),  # three moves of .98 at .1 a step, in .6 of the search
        (Sdq(rate=0.49), 10),
        (Fdqmp(), 50),  # five octaves at log2(1.15) a step, in half of the search
        (Fdqmp(initial_bits=4), 10),
        (Hmq(), 10),  # five logits at 1 a step, in .6 of the search without its first cycle
    ],
    ids=str,
)
def test_a_search_that_is_too_short_at_the_fastest_pace_is_told_so_before_it_begins(method, needed):
    short = notice_at_start(plan(method, average_weight_bits=3), needed - 1)
    assert f"needs {needed} steps" in short
    assert "average weight bits <= 3" in short
    assert notice_at_start(plan(method, average_weight_bits=3), needed) is None
    assert notice_at_start(plan(method, average_weight_bits=8), 1) is None


def test_nothing_is_said_where_nothing_is_chosen():
    assert notice_at_start(plan(Msqe()), 1) is None
    assert notice_on_the_way(Msqe().training, {}, records(8, 8, 8), 10) is None


def test_a_pace_that_does_not_suffice_is_told_with_what_it_would_take():
    """Of 100 steps hmq has 60 before its choices are final. At step 30 it stands at 6.5 and loses .05 a step: 3.5 more
    bits take 70 steps, 100 in all, which are three fifths of 167."""
    said = notice_on_the_way(Hmq(), LIMITS, records(8, 7.5, 7, 6.5), 100)
    for part in (
        "after 30 of the 60",
        "6.5 of average_weight_bits <= 3",
        "0.05 a step",
        "70 more",
        "steps=167",
        "strength",
    ):
        assert part in said
    assert notice_on_the_way(Hmq(), LIMITS, records(8, 7, 6, 5), 100) is None
    assert notice_on_the_way(Hmq(), LIMITS, records(8, 7.5, 7, 6.5, 6), 100) is None  # looked at half way already
    later = notice_on_the_way(Hmq(), LIMITS, records(8, 6, 4, 3.9, 3.8, 3.7), 100)
    assert "after 50 of the 60" in later


def test_a_search_that_does_not_come_nearer_is_told_what_presses_harder():
    said = notice_on_the_way(Sdq(cost_weight=0.0), LIMITS, records(8, 8, 8, 8), 100)
    assert "does not come nearer" in said
    assert "raise cost_weight" in said

"""Which of several states of a training is kept."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.training.best import BestWithinBudget, share_of_budget

LIMITS = {"bits": 3.0, "bytes": 100.0}
offers = st.lists(st.tuples(st.sampled_from([0.5, 0.7, 0.9]), st.sampled_from([2.0, 2.9, 3.0, 3.1])), max_size=8)


@given(offers)
def test_the_kept_state_is_the_most_accurate_within_the_budget_and_of_those_the_smallest(given_offers):
    best = BestWithinBudget()
    for index, (accuracy, bits) in enumerate(given_offers):
        best.offer(accuracy, {"bits": bits, "bytes": 40.0}, LIMITS, lambda index=index: index)
    within = [(a, -b, -i) for i, (a, b) in enumerate(given_offers) if b <= 3.0]
    assert best.state == (-max(within)[2] if within else None)


@given(offers)
def test_by_the_papers_rule_both_must_improve(given_offers):
    best, kept = BestWithinBudget(both=True), []
    for accuracy, bits in given_offers:
        if best.offer(accuracy, {"bits": bits, "bytes": 40.0}, LIMITS, (accuracy, bits)):
            kept.append((accuracy, bits))
    assert all(b[0] > a[0] and b[1] < a[1] for a, b in itertools.pairwise(kept))


def test_every_limit_counts_and_what_is_no_number_is_never_kept():
    assert share_of_budget({"bits": 2.0, "bytes": 150.0}, LIMITS) == 1.5
    assert not BestWithinBudget().offer(0.9, {"bits": 2.0, "bytes": 150.0}, LIMITS, 0)
    assert not BestWithinBudget().offer(float("nan"), {"bits": 2.0, "bytes": 50.0}, LIMITS, 0)
    assert share_of_budget({}, {}) == 0

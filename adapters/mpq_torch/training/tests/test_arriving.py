"""A search ends within its budget, uses it, and hardening moves nothing; its best moment can be brought back."""

import copy
import warnings

import pytest
import torch

import mpq_plugins as mpq
from mpq_plugins.errors import MPQError
from mpq_plugins.training.plan import own_bits, own_choices
from mpq_torch import fx
from mpq_torch.training.tests import digits

STEPS, LIMIT = 40, 4.0


def search(method, **options):
    images = digits.train_images()[0][:256]
    budget = mpq.Budget(average_weight_bits=LIMIT)
    shared = {"activation_bits": 8, "steps": STEPS, "calibration": [images], "record_every": 1}
    return fx.Search(digits.trained(), images[:8], "torch-x86", budget, method, **(shared | options))


@pytest.mark.parametrize("method", ["hmq", "sdq", "fdqmp"])
def test_a_search_settles_on_bits_that_use_the_budget_and_hardening_moves_none(method):
    due = 24
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = search(method)
        optimizer = digits.run(made, due - 1)
    said = [str(w.message) for w in caught if w.category is mpq.BudgetWarning]
    assert any("cannot reach the budget" in words for words in said) == (method == "sdq")
    assert method != "sdq" or "after 12 of the 24 steps" in said[1]
    measured = [bank.measured() for bank in made._banks if len(bank.plain.bits) > 1]
    assert measured
    assert all(energy > 0 for found in measured for energy in found.values())
    digits.run(made, STEPS - due + 1, optimizer, first=due - 1)
    last = made.history.last
    assert 0.98 * LIMIT <= last.resources["average_weight_bits"] <= LIMIT
    assert made.costs()["average_weight_bits"] == pytest.approx(last.resources["average_weight_bits"], rel=1e-5)
    numbers = {s.name: n for bank in made._banks for s, n in zip(bank.plain.slots, bank.numbers(), strict=True)}
    held = ({n: pair[at] for n, pair in numbers.items()} for at in (0, 1))
    own = {name: own_bits(row) for name, row in own_choices(made.plan, *held).items()}
    recipe = made.harden()
    assert {site: recipe[site].bits for site in own} == own
    assert all("learned by" in entry.reason or "only candidate" in entry.reason for entry in recipe.sites)
    assert made.costs() == {"average_weight_bits": pytest.approx(recipe.average_weight_bits)}


def test_a_search_stopped_among_the_measured_steps_goes_on_as_if_it_had_not_been():
    first, second = search("hmq"), search("hmq")
    optimizer = digits.run(first, 18)
    kept = copy.deepcopy(first.state_dict())
    other = torch.optim.SGD(second.parameter_groups(lr=0.005), momentum=0.9)
    second.load_state_dict(kept)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    digits.run(first, 10, optimizer, first=18)
    digits.run(second, 10, other, first=18)
    assert first.harden() == second.harden()


def test_the_best_moment_within_the_budget_is_brought_back():
    made = search("hmq")
    best = fx.KeepBest(made)
    assert not best.look(1.0)  # over the budget
    with pytest.raises(MPQError, match="within the budget"):
        best.restore()
    optimizer = digits.run(made, 30)
    made.model.eval()
    before = digits.accuracy(made.model)
    assert best.look(before)
    made.model.train()
    digits.run(made, 5, optimizer, first=30)
    assert not best.look(before - 0.1)
    assert best.restore() == before
    assert made.steps_done == 30
    assert digits.accuracy(made.model.eval()) == before

from __future__ import annotations

import json

import numpy as np
import pytest

from mpq_plugins.costs.budget import Budget
from mpq_plugins.errors import BudgetError

OWN = ["weight_bytes", "activation_bytes", "average_weight_bits", "bops", "latency_ms", "average_activation_bits"]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), -float("inf"), "4", True, [4]])
def test_a_limit_that_is_no_positive_finite_number_is_refused_with_its_name_and_value(name, value):
    with pytest.raises(BudgetError) as error:
        Budget(**{name: value})
    assert name in str(error.value)
    assert repr(value) in str(error.value)


def test_a_budget_without_any_limit_is_refused_and_the_fields_are_named():
    with pytest.raises(BudgetError) as error:
        Budget()
    assert all(name in str(error.value) for name in OWN)


def test_limits_holds_what_is_set_and_nothing_else():
    assert Budget(average_weight_bits=4).limits() == {"average_weight_bits": 4.0}
    assert Budget(bops=np.int64(7), weight_bytes=np.float32(2.5)).limits() == {"weight_bytes": 2.5, "bops": 7.0}


def test_a_resource_of_a_plugin_is_limited_by_its_registered_name():
    budget = Budget(latency_ms=2, other={"energy_mj": 3})
    assert budget.limits() == {"latency_ms": 2.0, "energy_mj": 3.0}
    assert str(budget) == "latency ms <= 2, energy mj <= 3"


def test_a_plugin_resource_is_checked_like_any_other():
    with pytest.raises(BudgetError, match=r"energy_mj .* -3"):
        Budget(other={"energy_mj": -3})
    with pytest.raises(BudgetError, match="bops is a field"):
        Budget(other={"bops": 3})
    with pytest.raises(BudgetError, match="other maps names"):
        Budget(other=[3])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "budget", [Budget(bops=2e9, latency_ms=0.1), Budget(other={"energy": 5}), Budget(weight_bytes=1)]
)
def test_a_budget_survives_json(budget):
    assert Budget.from_dict(json.loads(json.dumps(budget.to_dict()))) == budget


def test_a_name_that_is_no_field_is_refused_by_name():
    with pytest.raises(BudgetError, match="latency_s"):
        Budget.from_dict({"latency_s": 3})


def test_a_budget_is_a_value():
    assert Budget(bops=3) == Budget(bops=3.0)
    assert len({Budget(bops=3), Budget(bops=3.0), Budget(bops=4)}) == 2
    with pytest.raises(AttributeError):
        Budget(bops=3).bops = 4  # type: ignore[misc]


def test_it_reads_as_a_sentence():
    assert (
        str(Budget(weight_bytes=65536, average_weight_bits=3.5)) == "weight bytes <= 65,536, average weight bits <= 3.5"
    )

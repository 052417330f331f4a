"""The conformance kit on targets."""

from __future__ import annotations

import pytest

from mpq_plugins.hardware.target import Target
from mpq_plugins.testing import cost_checks, search_checks, target_checks
from mpq_plugins.testing.selection import chosen, find


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run for each target that is asked for."""
    metafunc.parametrize("name", chosen(metafunc.config, "target"))


@pytest.fixture
def target(name: str) -> Target:
    """The target of this name."""
    found = find("target", name)
    assert isinstance(found, Target)
    return found


def test_it_is_the_same_after_saving(target: Target) -> None:
    target_checks.check_saving(target)


def test_every_op_has_grids(target: Target) -> None:
    target_checks.check_ops(target)


def test_the_grids_that_it_offers_are_those_that_it_accepts(target: Target) -> None:
    target_checks.check_grids(target)


def test_codes_and_products_fit_what_holds_them(target: Target) -> None:
    target_checks.check_containers(target)


def test_ops_that_share_a_grid_have_bits_in_common(target: Target) -> None:
    target_checks.check_shared_grids(target)


def test_more_bits_never_cost_less(target: Target) -> None:
    cost_checks.check_costs_grow(target)


def test_an_allocation_exists_and_keeps_the_budget(target: Target) -> None:
    cost_checks.check_allocation(target)


def test_a_search_gives_a_recipe_for_it_within_the_budget(target: Target) -> None:
    search_checks.check_search(find("method", "msqe"), target)

"""The conformance kit on adapters of frameworks."""

from __future__ import annotations

import pytest

from mpq_plugins.testing import adapter_checks
from mpq_plugins.testing.adapter_checks import Story
from mpq_plugins.testing.selection import chosen


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run for each adapter that is asked for."""
    metafunc.parametrize("name", chosen(metafunc.config, "framework"), scope="module")


@pytest.fixture(scope="module")
def story(name: str) -> Story:
    """A model of the framework, from float to its grids."""
    return adapter_checks.tell(name)


def test_the_primitive_is_that_of_the_reference(name: str) -> None:
    adapter_checks.check_primitive(name)


def test_the_array_functions_are_those_of_numpy(name: str) -> None:
    adapter_checks.check_functions(name)


def test_a_search_gives_a_recipe_for_its_target_within_the_budget(story: Story) -> None:
    adapter_checks.check_search(story)


def test_the_simulation_lies_on_the_grids(story: Story) -> None:
    adapter_checks.check_simulation(story)


def test_a_constrained_model_stays_where_it_is(story: Story) -> None:
    adapter_checks.check_hardening(story)


def test_the_converted_model_is_exact(story: Story) -> None:
    adapter_checks.check_exactness(story)


def test_equal_models_have_equal_recipes(name: str, story: Story) -> None:
    adapter_checks.check_determinism(name, story)

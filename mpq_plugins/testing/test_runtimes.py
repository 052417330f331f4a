"""The conformance kit on runtimes."""

from __future__ import annotations

from typing import Any

import pytest

from mpq_plugins.graph.runtimes.runtime import Runtime
from mpq_plugins.testing import framework_arrays, runtime_checks
from mpq_plugins.testing.selection import chosen, find


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run for each runtime that is asked for."""
    names = chosen(metafunc.config, "runtime")
    metafunc.parametrize("runtime", [find("runtime", name) for name in names], ids=names)


@pytest.fixture(scope="module")
def frameworks() -> dict[str, Any]:
    """The installed frameworks, as the kit asks them."""
    return {name: framework_arrays.arrays_of(name) for name in framework_arrays.installed()}


def test_its_laws_are_known_ones(runtime: Runtime) -> None:
    runtime_checks.check_laws(runtime)


def test_its_targets_round_as_it_does(runtime: Runtime) -> None:
    runtime_checks.check_targets(runtime)


def test_laws_of_its_own_are_one_in_all_frameworks(runtime: Runtime, frameworks: dict[str, Any]) -> None:
    runtime_checks.check_own_laws(runtime, frameworks)


def test_its_simulation_is_near_the_truth_and_one_in_all_frameworks(
    runtime: Runtime, frameworks: dict[str, Any]
) -> None:
    if not frameworks:
        pytest.skip("no framework is installed")
    runtime_checks.check_simulation(runtime, frameworks)

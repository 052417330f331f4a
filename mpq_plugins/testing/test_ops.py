"""The conformance kit on ops."""

from __future__ import annotations

from typing import Any

import pytest

from mpq_plugins.graph.op import Op
from mpq_plugins.testing import framework_arrays, op_checks
from mpq_plugins.testing.selection import chosen, find


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run for each op that is asked for; what computes one, for those that the kit can compute."""
    names = chosen(metafunc.config, "op")
    if "function" in metafunc.fixturenames:
        found = [op for name in names if op_checks.is_checked(op := find("op", name))]
        metafunc.parametrize("function", found, ids=lambda op: op.word)
    else:
        metafunc.parametrize("op", [find("op", name) for name in names], ids=lambda op: op.word)


@pytest.fixture(scope="module")
def frameworks() -> dict[str, Any]:
    """The installed frameworks, as the kit asks them."""
    return {name: framework_arrays.arrays_of(name) for name in framework_arrays.installed()}


def test_its_record_is_one(op: Op) -> None:
    op_checks.check_record(op)


def test_every_code_has_a_value_of_its_own(function: Op) -> None:
    op_checks.check_values(function)


def test_its_signs_are_as_it_says(function: Op) -> None:
    op_checks.check_signs(function)


def test_value_and_gradient_are_those_of_numpy_in_every_framework(function: Op, frameworks: dict[str, Any]) -> None:
    if not frameworks:
        pytest.skip("no framework is installed")
    op_checks.check_gradients(function, frameworks)


def test_its_spellings_compute_it(function: Op, frameworks: dict[str, Any]) -> None:
    if not frameworks:
        pytest.skip("no framework is installed")
    op_checks.check_spellings(function, frameworks)

"""The conformance kit on methods: all that train grids, and all that search them after training."""

from __future__ import annotations

from typing import Any

import pytest

from mpq_plugins.search.method import PostTrainingMethod
from mpq_plugins.testing import (
    agreement_checks,
    bank_checks,
    framework_arrays,
    learning_checks,
    method_checks,
    search_checks,
)
from mpq_plugins.testing.sample_slots import Case, cases
from mpq_plugins.testing.selection import chosen, find
from mpq_plugins.training.method import TrainingMethod, training_of


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run for each method that is asked for, and each case that it is checked on."""
    names = chosen(metafunc.config, "method")
    if "case" in metafunc.fixturenames:
        found = [
            pytest.param(method, case, id=f"{name}-{case.name}")
            for name in names
            if (method := _training(name)) is not None
            for case in cases(method)
        ]
        metafunc.parametrize(("method", "case"), found)
    elif "target" in metafunc.fixturenames:
        searching = [name for name in names if isinstance(find("method", name), PostTrainingMethod)]
        metafunc.parametrize("search", searching)
        metafunc.parametrize("target", search_checks.METHOD_TARGETS)
    elif "method" in metafunc.fixturenames:
        metafunc.parametrize("method", [_training(name) for name in names if _training(name) is not None], ids=_name)
    else:
        metafunc.parametrize("name", names)


@pytest.fixture(scope="module")
def frameworks() -> dict[str, Any]:
    """The installed frameworks, as the kit asks them."""
    return {name: framework_arrays.arrays_of(name) for name in framework_arrays.installed()}


def test_it_searches_or_trains(name: str) -> None:
    method = find("method", name)
    kind = method.kind
    if kind == "training":
        assert isinstance(method, TrainingMethod), f"{name!r} is of kind 'training' and no subclass of TrainingMethod"
    else:
        assert isinstance(method, PostTrainingMethod), f"{name!r} is of kind {kind!r} and no PostTrainingMethod"


def test_evaluation_is_exactly_on_the_hardened_grid(method: TrainingMethod, case: Case) -> None:
    method_checks.check_evaluation(method, case)


def test_it_chooses_among_the_candidates(method: TrainingMethod, case: Case) -> None:
    method_checks.check_choice(method, case)


def test_equal_draws_give_equal_numbers(method: TrainingMethod, case: Case) -> None:
    method_checks.check_determinism(method, case)


def test_a_bank_of_three_groups_gives_what_three_banks_of_one_do(method: TrainingMethod, case: Case) -> None:
    bank_checks.check_bank(method, case)


def test_its_state_survives_saving(method: TrainingMethod, case: Case) -> None:
    method_checks.check_saving(method, case)


def test_its_schedule_is_a_function_of_the_step(method: TrainingMethod, case: Case) -> None:
    method_checks.check_schedule(method, case)


def test_it_refuses_what_is_no_number(method: TrainingMethod, case: Case) -> None:
    method_checks.check_not_a_number(method, case)


def test_forward_and_gradients_are_equal_in_every_framework(
    method: TrainingMethod, case: Case, frameworks: dict[str, Any]
) -> None:
    if not frameworks:
        pytest.skip("no framework is installed")
    agreement_checks.check_agreement(method, case, frameworks)


def test_its_gradients_lead_to_a_smaller_error(method: TrainingMethod, case: Case, frameworks: dict[str, Any]) -> None:
    if not frameworks:
        pytest.skip("no framework is installed")
    learning_checks.check_gradients_lead(method, case, frameworks)


def test_gradients_reach_all_of_its_parameters(method: TrainingMethod, frameworks: dict[str, Any]) -> None:
    if not frameworks:
        pytest.skip("no framework is installed")
    learning_checks.check_gradients_reach(method, frameworks)


def test_the_penalty_is_zero_within_the_budget(method: TrainingMethod) -> None:
    method_checks.check_penalty(method, cases(method)[0])


def test_so_is_its_gradient_in_every_framework(method: TrainingMethod, frameworks: dict[str, Any]) -> None:
    if not frameworks:
        pytest.skip("no framework is installed")
    agreement_checks.check_penalty_gradients(method, cases(method)[0], frameworks)


def test_its_recipes_fit_the_target_and_the_budget(search: str, target: str) -> None:
    search_checks.check_search(find("method", search), find("target", target))


def test_one_question_gives_one_recipe(search: str, target: str) -> None:
    search_checks.check_search_is_deterministic(find("method", search), find("target", target))


def test_what_nobody_can_meet_is_refused(search: str, target: str) -> None:
    search_checks.check_search_refuses(find("method", search), find("target", target))


def _training(name: str) -> TrainingMethod | None:
    return training_of(find("method", name))


def _name(method: TrainingMethod) -> str:
    return method.name

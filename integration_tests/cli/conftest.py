"""Where the tests of this folder keep measurements: never in the user's cache directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration_tests.cli.commands import TARGETS, Case, invoke


@pytest.fixture(scope="session", autouse=True)
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("kept")
        patch.setenv("MPQ_CACHE_DIR", str(directory))
        yield directory


@pytest.fixture(scope="session", params=list(TARGETS))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


@pytest.fixture(scope="session")
def found(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with recipe.json and details.json of a search at 4 bits on average."""
    folder = tmp_path_factory.mktemp(case.framework)
    recipe, details = folder / "recipe.json", folder / "details.json"
    budget = ["--average-weight-bits", "4", "--activation-bits", "8"]
    invoke(*case.search, *budget, "--out", str(recipe), "--details", str(details))
    return folder

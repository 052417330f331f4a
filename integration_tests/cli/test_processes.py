"""The commands as processes of their own: what a pipe sees, and what a narrow terminal sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from integration_tests.cli.commands import Case


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mpq_plugins", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80", **environment},
    )


def test_a_piped_search_writes_its_json_and_nothing_else(case: Case, found: Path, tmp_path: Path) -> None:
    budget = ["--average-weight-bits", "4", "--activation-bits", "8"]
    done = run(*case.search, *budget, "--json", "-o", str(tmp_path / "r.json"))
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["recipe"] == str(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == (found / "recipe.json").read_text()


def test_debug_shows_where_it_went_wrong(tmp_path: Path) -> None:
    options = ["search", "-m", "no_such_module:x", "-c", "x.npy", "-t", "torch-x86", "--debug"]
    done = run(*options, "-o", str(tmp_path / "r.json"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "LoadingError" in done.stderr


@pytest.mark.parametrize("command", ["search", "pareto", "show", "report", "export"])
def test_the_help_of_every_command_fits_80_columns_and_has_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout  # nothing is cut off
    assert f"Example: mpq {command}" in " ".join(done.stdout.split())


def test_the_exit_codes_are_documented() -> None:
    said = " ".join(run("--help").stdout.split())
    assert "Exit codes: 0 done, 1 an error" in said
    assert "130 interrupted" in said

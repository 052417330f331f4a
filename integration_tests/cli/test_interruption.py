"""Ctrl-C leaves what was measured, and the next run goes on from there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from integration_tests.cli.commands import Case, invoke
from mpq_plugins import Recipe, hookimpl, plugins
from mpq_plugins.commands.cli import app
from mpq_plugins.papers.msqe import Msqe
from mpq_plugins.registry import process

CASE = Case("torch")
BUDGET = ["--average-weight-bits", "4", "--activation-bits", "8"]


class Impatient(Msqe):
    """msqe, whose first search is interrupted when three groups of sites are rated."""

    name = "impatient"

    def __init__(self) -> None:
        object.__setattr__(self, "known", [])

    def rate(self, problem, known=None, keep: Callable | None = None):
        self.known.append(sorted(known or {}))
        done = []

        def counting(ratings) -> None:
            keep(ratings)
            done.append(ratings)
            if len(self.known) == 1 and len(done) == 3:
                signal.raise_signal(signal.SIGINT)

        return super().rate(problem, known or {}, counting)


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, also where the tests run in the background of a shell that has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Impatient:
    method = Impatient()

    class Plugin:
        @hookimpl
        def mpq_register_methods(self, register) -> None:
            register(method)

    host = plugins.PluginHost()
    host.register(Plugin(), "impatient")
    monkeypatch.setattr(process, "_host", [host])
    return method


def test_an_interrupted_search_goes_on_and_ends_as_if_nothing_had_happened(
    impatient: Impatient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path / "kept"))
    out = tmp_path / "recipe.json"
    command = [*CASE.search, *BUDGET, "--method", "impatient", "--out", str(out)]
    stopped = CliRunner().invoke(app, command)
    assert stopped.exit_code == 130
    assert stopped.stderr == ("mpq: interrupted; what was measured is kept, the same command goes on from there\n")
    assert not out.exists()
    invoke(*command)
    first, second = impatient.known
    assert first == []
    assert len(second) >= 3
    invoke(*CASE.search, *BUDGET, "--out", str(tmp_path / "whole.json"))
    went_on, whole = Recipe.load(out), Recipe.load(tmp_path / "whole.json")
    assert dict(went_on) == dict(whole)
    assert went_on.costs == whole.costs


def test_ctrl_c_in_a_terminals_process_is_exit_130_without_a_traceback(tmp_path: Path) -> None:
    options = ["-m", CASE.reference("slow"), "-c", CASE.reference("calibration"), "-t", "torch-x86"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mpq_plugins", "search", *options, *BUDGET, "-o", str(tmp_path / "r.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MPQ_CACHE_DIR": str(tmp_path)},
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, error) == ("", "mpq: interrupted; what was measured is kept, the same command goes on from there\n")


def test_fresh_measures_again(impatient: Impatient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient.known.append([])  # this one is not interrupted
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path / "kept"))
    command = [*CASE.search, *BUDGET, "--method", "impatient", "--out", str(tmp_path / "r.json")]
    invoke(*command)
    invoke(*command, "--fresh")
    assert impatient.known[1:] == [[], []]

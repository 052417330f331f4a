"""The command line, as a person and as a pipe see it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mpq_plugins import Grid, Recipe, Target, TargetError, __version__
from mpq_plugins.commands.cli import main
from mpq_plugins.recipe.site_grid import SiteGrid


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mpq_plugins", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    entry = SiteGrid("fc.weight", "weight", "linear", (2, 4), Grid.power_of_two(4, 0), reason="fixed")
    path = tmp_path / "recipe.json"
    Recipe((entry,), "generic-po2", "msqe").save(path)
    return path


def test_plugins_are_listed_with_distribution_version_and_state(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("plugins") == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["name", "distribution", "version", "state", "summary", "failure"]
    rows = {line[0]: line for line in lines[1:]}
    assert rows["builtin.generic"][1:4] == ["mpq-plugins", __version__, "loaded"]
    assert rows["torch"][1:4] == ["mpq-plugins", __version__, "loaded"]


def test_targets_are_listed_with_what_runs_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("targets") == 0
    rows = {line.split("\t")[0]: line.split("\t") for line in capsys.readouterr().out.splitlines()}
    assert rows["name"] == ["name", "runtime", "distribution", "version", "summary"]
    assert rows["torch-x86"][1:4] == ["torch x86", "mpq-plugins", __version__]
    assert rows["generic-po2"][1] == ""


def test_a_target_is_printed_as_json_that_loads(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("targets", "torch-qnnpack") == 0
    assert Target.from_json(capsys.readouterr().out).rounding("add") == "half_away"


def test_ops_and_runtimes_are_listed_with_how_one_comes_to_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("ops") == 0
    headings, *lines = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    rows = {line[0]: dict(zip(headings, line, strict=True)) for line in lines}
    silu, concat = rows["silu"], rows["concat"]
    assert [silu[engine] for engine in ("integers", "x86", "pt2e", "xnnpack")] == ["table", "steps", "kernel", "table"]
    assert (concat["inputs"], concat["grid"], concat["qnnpack"]) == ("any", "all", "moves")
    assert rows["softsign"]["pt2e"] == rows["gelu"]["x86"] == "-"
    assert exit_code("runtimes", "torch.qnnpack") == 0
    qnnpack = {line.split("\t")[0]: line.split("\t")[1:] for line in capsys.readouterr().out.splitlines()}
    assert qnnpack["add"] == ["kernel", "half_away", "float32", ""]
    assert qnnpack["silu"] == ["steps", "half_even", "", "sigmoid(input), mul(input, sigmoid)"]
    assert exit_code("runtimes") == exit_code("ops", "add") == 0
    assert "torch.qnnpack\tkernel\thalf_away" in capsys.readouterr().out


def test_methods_are_listed_with_their_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("methods") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t") == ["name", "kind", "paper", "distribution", "version", "summary"]


def test_show_prints_the_table_of_a_recipe(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("show", str(saved)) == 0
    assert capsys.readouterr().out == f"{Recipe.load(saved)}\n"


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"mpq-plugins {__version__}\n"


def test_an_error_of_ours_is_one_sentence_on_stderr_and_exit_1(tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    done = run("show", str(path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"mpq: cannot read the recipe {path}: No such file or directory\n"


def test_debug_shows_the_traceback_wherever_it_stands() -> None:
    for arguments in (("--debug", "targets", "nope"), ("targets", "nope", "--debug")):
        with pytest.raises(TargetError, match="no target 'nope'"):
            main(arguments)
    assert "Traceback" in run("--debug", "targets", "nope").stderr


def test_a_wrong_command_is_exit_2_and_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("bogus") == 2
    assert exit_code("--help") == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("plugins", "targets", "methods", "show"))


def test_a_failed_plug_in_is_in_the_list_and_a_warning_elsewhere() -> None:
    done = run("targets", MPQ_LOAD_PLUGINS="nobody")
    assert done.returncode == 0
    assert "mpq: warning: MPQ_LOAD_PLUGINS names 'nobody', and no installed package has such a plug-in\n" in done.stderr
    assert run("plugins", MPQ_BLOCK_PLUGINS="torch").stdout.splitlines()[-1].split("\t")[3] == "blocked"


def test_a_person_at_a_terminal_gets_columns_without_tabs() -> None:
    reader, terminal = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "mpq_plugins", "targets"],
        stdout=terminal,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "120", "TERM": "dumb"},
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            chunk = os.read(reader, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(reader)
    assert done.wait() == 0
    assert b"generic-po2-per-channel" in shown
    assert b"\t" not in shown

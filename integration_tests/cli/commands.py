"""Runs commands in this process, as the tests of this folder need them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mpq_plugins.commands.cli import app, main

FOLDER = Path(__file__).parent
TARGETS = {"torch": "torch-x86", "tfmot": "litert-po2"}
FILES = {"torch": "torch_models.py", "tfmot": "keras_models.py"}


@dataclass(frozen=True)
class Case:
    """A framework's model and data, and the options that name them."""

    framework: str

    @property
    def target(self) -> str:
        return TARGETS[self.framework]

    def reference(self, name: str) -> str:
        return f"{FOLDER / FILES[self.framework]}:{name}"

    @property
    def options(self) -> list[str]:
        return ["-m", self.reference("model"), "-c", self.reference("calibration")]

    @property
    def search(self) -> list[str]:
        return ["search", *self.options, "-t", self.target]


def invoke(*arguments: str) -> str:
    """Standard output of a command that works."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def invoke_json(*arguments: str) -> Any:
    return json.loads(invoke(*arguments, "--json"))


def failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and the sentence of a command that fails."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1, said.err
    return int(caught.value.code or 0), said.err.removeprefix("mpq: ").rstrip("\n")

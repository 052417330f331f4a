"""What was measured and rated before Ctrl-C is there for the next search, which finds what an undisturbed one finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mpq_plugins.costs.budget import Budget
from mpq_plugins.inventory import Inventory
from mpq_plugins.papers.msqe import Msqe
from mpq_plugins.search.request import Request
from mpq_plugins.testing.measured_network import FRAMEWORK, MeasuredNetwork
from mpq_plugins.workspace.command_protocol import Measured
from mpq_plugins.workspace.loading import LoadedModel
from mpq_plugins.workspace.study import Study

REQUEST = Request("generic-po2", "msqe", Budget(average_weight_bits=4), activation_bits=8, progress=False)


class Commands:
    """An adapter of a network of plain arrays, which counts how often it measures."""

    def __init__(self) -> None:
        self.measured = 0

    def batches(self, model: Any, calibration: Any, keep_float: Any) -> list[Any]:
        return [calibration]

    def fingerprint(self, model: Any, batches: Any, keep_float: Any) -> str:
        return f"{batches}"

    def inventory(self, model: MeasuredNetwork, batches: Any, keep_float: Any, target: Any) -> Inventory:
        return model.inventory

    def measure(self, model: MeasuredNetwork, batches: Any, check: Callable[[Inventory], None], *rest: Any) -> Measured:
        check(model.inventory)
        self.measured += 1
        return Measured(model, FRAMEWORK)


def study(commands: Any, directory: Path | None, data: str = "data") -> Study:
    loaded = LoadedModel(MeasuredNetwork("linear"), FRAMEWORK, SimpleNamespace(), commands)
    return Study(loaded, data, directory, progress=False)


def test_a_search_that_was_interrupted_goes_on_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands, rate, rated = Commands(), Msqe.rate_group, []

    def interrupted_at_b(self: Msqe, problem: Any, group: Any) -> Any:
        if group[0].name == "b.weight" and "b.weight" not in rated:
            rated.append("b.weight")
            raise KeyboardInterrupt
        rated.append(group[0].name)
        return rate(self, problem, group)

    monkeypatch.setattr(Msqe, "rate_group", interrupted_at_b)
    with pytest.raises(KeyboardInterrupt):
        study(commands, tmp_path).search(REQUEST)
    before = list(rated)
    assert before == ["x", "a.weight", "a", "b.weight"]
    again = study(commands, tmp_path)
    recipe = again.search(REQUEST)
    assert commands.measured == 1
    assert again.resumed
    assert rated[len(before) :] == ["b.weight", "b"]
    assert recipe == study(Commands(), None).search(REQUEST)


def test_what_was_measured_of_other_data_does_not_count(tmp_path: Path) -> None:
    commands = Commands()
    study(commands, tmp_path).search(REQUEST)
    study(commands, tmp_path, "other data").measure(REQUEST)
    assert commands.measured == 2


def test_an_interruption_while_measurements_are_written_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **arrays: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mpq_plugins.workspace.snapshot.np.savez", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study(Commands(), tmp_path).search(REQUEST)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

"""``mpq measure``: a model by reference, a table in a file, and a search that counts by it."""

from __future__ import annotations

import json

import pytest

import mpq_plugins as mpq
from mpq_plugins.commands.cli import main

FACTORY = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 3)]
    return nn.Sequential(*layers).eval()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def run(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_model_is_measured_and_its_table_is_written(folder, capsys):
    arguments = ("nets.py:network", "-t", "torch-x86", "--shape", "3,8,8", "--weight-bits", "4,7", "--rounds", "1")
    assert run("measure", *arguments, "-o", "table.json") == 0
    printed = capsys.readouterr().out
    assert "4.weight" in printed
    assert "the table is in table.json" in printed
    table = mpq.LatencyTable.load(folder / "table.json")
    assert table.device.facts["engine"] == "x86"
    assert set(table.milliseconds["0.weight"]) == {(w, a) for w in (4, 7) for a in range(2, 9)}


def test_an_analytic_device_is_measured_in_the_same_way_and_answers_a_script(folder, capsys):
    assert run("measure", "nets.py:network", "-t", "bit-array", "--shape", "3,8,8", "--json") == 0
    assert json.loads(capsys.readouterr().out)["table"] == "latency.json"
    table = mpq.LatencyTable.load(folder / "latency.json")
    # 27 products in 16 rows, 8 outputs in 16 columns, 64 positions: two passes at 8 x 8 bits, one at 4 x 4
    assert table.milliseconds["0.weight"][8, 8] == pytest.approx(1e3 * 128 / 500e6)
    assert table.milliseconds["0.weight"][4, 4] == pytest.approx(1e3 * 64 / 500e6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-t", "torch-x86"), "give example inputs"),
        (("-t", "torch-x86", "--shape", "3,x"), "--shape takes whole numbers"),
        (("-t", "generic-po2", "--shape", "3,8,8"), "no plug-in measures"),
        (("-t", "torch-x87", "--shape", "3,8,8"), "closest are torch-x86"),
    ],
    ids=["no shape", "no numbers", "no device", "no target"],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(folder, capsys, arguments, message):
    assert run("measure", "nets.py:network", *arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("mpq: ")

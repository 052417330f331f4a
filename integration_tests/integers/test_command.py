"""``mpq integers`` from a recipe and a model to files that run."""

import json

import numpy as np
import pytest

from mpq_plugins.commands.cli import main
from mpq_plugins.integers import input_codes, load, run
from mpq_plugins.integers.tests.c_programs import compiled

MODEL = """
import torch
from torch import nn

def model():
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    return nn.Sequential(*layers).eval()

def other():
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model, calibration data and a recipe of 4 bits, as the current directory."""
    import torch

    from mpq_torch import fx

    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(MODEL)
    x = np.random.default_rng(0).normal(size=(16, 2, 6, 6)).astype(np.float32)
    np.save(tmp_path / "images.npy", x)
    namespace = {}
    exec(MODEL, namespace)
    recipe = fx.search(namespace["model"](), [torch.from_numpy(x)], "torch-x86", weight_bits=4, activation_bits=6)
    recipe.save(tmp_path / "recipe.json")
    return tmp_path


def mpq(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_integers_of_a_recipe_are_written_and_run(folder, capsys):
    given = ("recipe.json", "-m", "nets.py:model", "-c", "images.npy", "--out", "made", "--c", "--json")
    assert mpq("integers", *given) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["exact"] is True
    assert said["verified_values"] == 16 * 3
    program = load(folder / "made")
    assert (program.name, (folder / "made" / "model.h").exists()) == ("model", True)
    outputs = run(program, input_codes(program, np.load("images.npy")))
    assert outputs[program.outputs[0]].shape == (16, 3)
    assert compiled(folder / "made" / "main.c").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("-m", "nets.py:other", "-c", "images.npy", "--out", "made"), "mpq: "),
        (("-m", "nets.py:model", "-c", "images.npy", "--out", "nets.py"), "mpq: cannot write nets.py"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(folder, capsys, arguments, sentence):
    assert mpq("integers", "recipe.json", *arguments) == 1
    said = capsys.readouterr().err
    assert sentence in said
    assert "Traceback" not in said
    assert not (folder / "made").exists()

"""A recipe says all that applying it needs: no example, no registration, no file of a target, no meta."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mpq_plugins as mpq
from mpq_plugins import plugins
from mpq_plugins.inventory import ModelInput
from mpq_plugins.recipe.recipe import Recipe
from mpq_torch import fx, onnx

FIRST = Path(mpq.__file__).parent / "recipe" / "tests" / "schema_1.json"


KEPT = {"steps": 1, "keep_float": ["1"]}


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.GELU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3)
    ).eval()  # fmt: skip


@pytest.fixture
def images():
    return torch.from_numpy(np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32))


@pytest.fixture
def target_file(tmp_path):
    """A target of a vendor's in a file of the user's."""

    def written(name):
        path = tmp_path / "mine.json"
        plugins.target(name).model_copy(update={"name": "mine"}).save(path)
        return path

    return written


def moved(recipe, path, tmp_path):
    """The recipe as a machine reads it that has not got the target's file."""
    recipe.save(tmp_path / "recipe.json")
    path.unlink()
    return Recipe.load(tmp_path / "recipe.json")


def test_a_stored_recipe_of_schema_1_still_applies(images):
    recipe = Recipe.load(FIRST)
    simulated = fx.simulate(network(), recipe)
    assert fx.verify(fx.quantize(network(), recipe), simulated, images).exact


def test_what_stays_float_is_no_text(images):
    recipe = fx.search(network(), images, "torch-x86", weight_bits=7, activation_bits=8, keep_float=["1"])
    (part,) = recipe.floats
    assert (part.name, part.weights) == ("1", 0)
    plain = replace(recipe, meta={"note": "mine"})
    assert torch.equal(fx.simulate(network(), plain)(images), fx.simulate(network(), recipe)(images))


class Embedded(nn.Module):
    """Takes images and, for a part in float alone, numbers of words."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.words = nn.Embedding(5, 4)

    def forward(self, image, word, scale: float = 1.0):
        return torch.relu(self.conv(image)).mean((2, 3)), self.words(word)


def test_a_model_is_read_by_the_names_shapes_and_types_of_its_inputs(images):
    model, words = Embedded().eval(), torch.arange(16) % 5
    recipe = fx.search(model, [(images, words)], "generic-po2", weight_bits=4, activation_bits=8)
    assert recipe.inputs == (ModelInput("image", (None, 3, 8, 8)), ModelInput("word", (None,), "int64"))
    again = Recipe.from_json(recipe.to_json())
    wanted = fx.simulate(model, again, example_inputs=(images, words))(images, words)
    for got, expected in zip(fx.simulate(model, again)(images, words), wanted, strict=True):
        assert torch.equal(got, expected)
    with pytest.raises(mpq.ModelError, match="argument 'word'; pass example_inputs"):
        fx.simulate(model, replace(again, inputs=()))


class OneBatch(nn.Module):
    """Computes with three samples and with no other number of them."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return self.fc(x).reshape(3, 2, 2)


def test_a_model_of_one_batch_size_is_read_at_that_size():
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    model = OneBatch().eval()
    recipe = fx.search(model, [x], "generic-po2", weight_bits=4, activation_bits=8)
    assert recipe.inputs == (ModelInput("x", (3, 4)),)
    assert fx.simulate(model, recipe)(x).shape == (3, 2, 2)


def test_a_target_of_a_file_is_in_the_recipe_which_every_torch_verb_takes(images, tmp_path, target_file):
    path, model = target_file("torch-x86"), network()
    options = {"weight_bits": 7, "activation_bits": 8, "keep_float": ["1"]}
    recipe = moved(fx.search(model, images, str(path), **options), path, tmp_path)
    assert recipe.hardware is not None
    simulated = fx.simulate(fx.constrain(model, recipe), recipe)
    assert fx.verify(fx.quantize(model, recipe), simulated, images).exact
    assert fx.time_recipe(model, recipe, rounds=1).seconds > 0


def test_a_target_of_a_file_trains_too(images, tmp_path, target_file):
    path = target_file("generic-po2")
    search = fx.Search(network(), images, str(path), method="hmq", weight_bits=4, activation_bits=8, **KEPT)
    search.model(images)
    search.step()
    recipe = moved(fx.harden(search), path, tmp_path)
    assert fx.simulate(network(), recipe)(images).shape == (16, 3)
    assert recipe.hardware == replace_name(plugins.target("generic-po2"))


def replace_name(target):
    return target.model_copy(update={"name": "mine"})


def test_a_target_of_a_file_works_through_pt2e(images, tmp_path, target_file):
    from mpq_torch import pt2e

    path, model = target_file("torch-pt2e"), network()
    options = {"weight_bits": 4, "activation_bits": 8, "keep_float": ["1"]}
    recipe = moved(pt2e.search(model, images, str(path), **options), path, tmp_path)
    assert pt2e.verify(pt2e.quantize(model, recipe), pt2e.simulate(model, recipe), images).exact


def test_a_target_of_a_file_works_through_onnx(images, tmp_path, target_file):
    path, model = target_file("onnxruntime"), network()
    recipe = moved(fx.search(model, images, path, weight_bits=4, activation_bits=8), path, tmp_path)
    assert onnx.verify(onnx.export(model, recipe), fx.simulate(model, recipe), images).exact


def test_a_target_of_a_file_works_through_keras(tmp_path, target_file):
    import mpq_tfmot
    from mpq_tfmot.keras import keras

    path = target_file("litert-int8")
    layers = [
        keras.Input((4, 4, 2), name="image"),
        keras.layers.Conv2D(3, 3, activation="relu"),
        keras.layers.Flatten(),
    ]
    model = keras.Sequential([*layers, keras.layers.Dense(2)])
    images = np.random.default_rng(0).standard_normal((8, 4, 4, 2)).astype(np.float32)
    recipe = mpq_tfmot.search(model, images, str(path), weight_bits=8, activation_bits=8)
    assert recipe.inputs == (ModelInput("image", (None, 4, 4, 2)),)
    trained = mpq_tfmot.quantize(model, recipe)
    assert mpq_tfmot.harden(trained, str(path)).hardware == recipe.hardware
    recipe = moved(recipe, path, tmp_path)
    assert mpq_tfmot.verify(mpq_tfmot.litert.export(model, recipe), mpq_tfmot.simulate(model, recipe), images).exact


def test_a_target_of_a_file_works_through_the_command_line(images, tmp_path, target_file, monkeypatch, capsys):
    from mpq_plugins.commands.cli import main

    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path / "cache"))
    np.save(tmp_path / "images.npy", images.numpy())
    path, out = target_file("torch-x86"), tmp_path / "recipe.json"
    given = ["-m", f"{__file__}:network", "-c", str(tmp_path / "images.npy"), "--keep-float", "1"]
    bits = ["--weight-bits", "7", "--activation-bits", "8", "-q", "-o", str(out)]
    for command in (
        ["search", *given, "-t", str(path), *bits],
        ["export", str(out), *given[:4], "--to", "torch", "-o", str(tmp_path / "model.pt"), "--json"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert not ended.value.code, capsys.readouterr().err
        path.unlink(missing_ok=True)
    assert json.loads(capsys.readouterr().out)["exact"] is True

"""What cannot be written as a .tflite is refused by name before anything is written."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from integration_tests.bits import widest
from integration_tests.litert.cases import IMAGES, Small
from integration_tests.litert.networks import settled
from mpq_plugins.errors import ModelError, PluginError, RecipeMismatch, TargetError, UnsupportedOp
from mpq_plugins.exporters.litert.requirements import require
from mpq_torch import fx, litert


def found(function=lambda m, x: m.a(x), target="litert-po2", **modules):
    """A model and its recipe at 8 bits."""
    model = settled(Small(function, **(modules or {"a": nn.Conv2d(3, 8, 3)})))
    return model, fx.search(model, [IMAGES], target, weight_bits=widest(target), activation_bits=8, progress=False)


def taken_over(function, **modules):
    """A model and the recipe that another target's search gave it."""
    model, recipe = found(function, "generic-po2-per-channel", **modules)
    return model, replace(recipe, target="litert-po2")


@pytest.mark.parametrize(
    ("target", "said"),
    [("torch-x86", "runs on torch, not on LiteRT"), ("generic-po2", "has no runtime, not on LiteRT")],
)
def test_a_recipe_for_another_runtime_is_refused(target, said, tmp_path):
    model, recipe = found(target=target)
    with pytest.raises(TargetError, match=said):
        litert.export(model, recipe, IMAGES, tmp_path / "m.tflite")
    assert not list(tmp_path.iterdir())


def test_a_recipe_of_another_model_is_refused_with_names():
    _, recipe = found()
    with pytest.raises(RecipeMismatch, match=r"b\.weight"):
        litert.export(settled(Small(lambda m, x: m.b(x), b=nn.Conv2d(3, 8, 3))), recipe, IMAGES)


def test_float_ops_of_another_model_are_a_mismatch_that_names_the_sites():
    _, recipe = taken_over(lambda m, x: F.softmax(m.a(x), 1), a=nn.Conv2d(3, 8, 3))
    with pytest.raises(RecipeMismatch, match=r"b\.weight"):
        litert.export(settled(Small(lambda m, x: m.b(x), b=nn.Conv2d(3, 8, 3))), recipe, IMAGES)


def test_ops_that_litert_lacks_are_refused_all_names_at_once(tmp_path):
    model, recipe = taken_over(
        lambda m, x: F.silu(m.b(F.max_pool2d(x, 2, 1, dilation=2))).cumprod(1),
        b=nn.ConvTranspose2d(3, 4, 3, dilation=2),
    )
    with pytest.raises(UnsupportedOp, match="dilation") as caught:
        fx.search(model, [IMAGES], "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    assert caught.value.names == ("max_pool2d", "b", "cumprod")
    with pytest.raises(UnsupportedOp, match="dilation") as caught:
        litert.export(model, recipe, IMAGES, tmp_path / "m.tflite")
    assert caught.value.names == ("max_pool2d", "b", "cumprod")
    assert "cumprod would stay float" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "end",
    [lambda y: F.softmax(y, 1, dtype=torch.float64), lambda y: y.cumprod(1), lambda y: torch.softmax(y, 1).cumsum(1)],
)
def test_a_float_end_with_arguments_that_no_kernel_has_is_refused(end):
    model, recipe = taken_over(lambda m, x: end(m.a(x)), a=nn.Conv2d(3, 8, 3))
    with pytest.raises(UnsupportedOp, match="would stay float"):
        litert.export(model, recipe, IMAGES)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    model, recipe = found()
    with pytest.raises(ModelError, match="cannot write the LiteRT model"):
        litert.export(model, recipe, IMAGES, tmp_path / "nowhere" / "m.tflite")


def test_verify_needs_the_recipe_of_a_model_and_a_file_of_ours():
    model, recipe = found()
    flat = litert.export(model, recipe, IMAGES)
    with pytest.raises(ModelError, match="verify needs what simulate returned"):
        litert.verify(flat, model, IMAGES)
    with pytest.raises(ModelError, match="no LiteRT file that mpq-plugins wrote"):
        litert.verify(b"nothing", model, IMAGES, recipe)
    with pytest.raises(ModelError, match=r"argument x has the shape \(3, .*, and the model was read with 4 axes"):
        litert.verify(flat, model, [IMAGES, IMAGES[0]], recipe)
    with pytest.raises(ModelError, match=r"argument x of a batch has the shape .*, and the model takes \(samples, 3, "):
        litert.verify(flat, model, [IMAGES, IMAGES[..., 1:]], recipe)


def test_a_file_of_another_model_is_refused_by_the_tensor_that_it_lacks():
    model, recipe = found()
    flat = litert.export(model, recipe, IMAGES)
    other, its = found(lambda m, x: m.other(x), other=nn.Conv2d(3, 8, 3))
    with pytest.raises(ModelError, match="has no tensor other"):
        litert.verify(flat, other, IMAGES, its)


def test_without_litert_the_error_says_what_to_install(monkeypatch):
    model, recipe = found()
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    require.cache_clear()
    with pytest.raises(PluginError, match=r"pip install 'mpq-plugins\[litert\]'"):
        litert.export(model, recipe, IMAGES)
    require.cache_clear()

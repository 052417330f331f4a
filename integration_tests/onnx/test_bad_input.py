"""Bad input to the ONNX export gets an error that names the site, the numbers and the way out."""

import sys

import pytest
import torch
from torch import nn

import mpq_plugins as mpq
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins.exporters.onnx.running import run, session
from mpq_torch import fx, onnx
from mpq_torch.tests.networks import Residual, network

TARGET = "onnxruntime"


@pytest.fixture(scope="module")
def residual():
    model, x = network(Residual)
    return model, x, clipping_recipe(model, x, TARGET, 4, 8)


def test_an_opset_that_is_too_old_is_refused(residual):
    model, x, recipe = residual
    with pytest.raises(mpq.ModelError, match=r"opset 13 is too old: .* need 21 or later"):
        onnx.export(model, recipe, x, opset=13)


def test_a_recipe_of_another_target_is_refused_with_a_way_out(residual):
    model, x, _ = residual
    for target, why in (("torch-qnnpack", "runs on torch"), ("generic-po2", "has no runtime")):
        recipe = clipping_recipe(model, x, target, 4, 8)
        with pytest.raises(mpq.TargetError, match=rf"'{target}' {why}.*replace\(recipe, target='onnxruntime'\)"):
            onnx.export(model, recipe, x)


def test_torch_s_own_kernels_refuse_a_recipe_of_onnxruntime(residual):
    model, x, recipe = residual
    with pytest.raises(mpq.TargetError, match="runs on onnxruntime, not on torch"):
        fx.quantize(model, recipe, x)


def test_a_recipe_of_another_model_is_refused_by_site(residual):
    _, x, recipe = residual
    with pytest.raises(mpq.RecipeMismatch, match=r"conv1"):
        onnx.export(nn.Sequential(nn.Flatten(), nn.Linear(243, 5)), recipe, x)


def test_a_grid_that_onnx_lacks_is_refused_by_site(residual):
    model, x, recipe = residual
    grids = dict(recipe)
    grids["conv1.weight"] = mpq.Grid(4, (0.3,))
    free = mpq.Recipe.from_inventory(fx.inventory(model, x), grids, TARGET, "by hand")
    with pytest.raises(mpq.TargetError, match=r"site 'conv1.weight'.*steps must be powers of two"):
        onnx.export(model, free, x)


def test_a_path_that_cannot_be_written_is_refused(residual, tmp_path):
    model, x, recipe = residual
    with pytest.raises(mpq.ModelError, match=r"cannot write the ONNX model .*none.*: No such file"):
        onnx.export(model, recipe, x, tmp_path / "none" / "model.onnx")


class _Fixed(nn.Module):
    """Flattens with the batch size of the example."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(12, 2)

    def forward(self, x):
        return self.fc(x.reshape(4, 12))


def test_a_model_of_one_batch_size_is_refused_unless_the_batch_is_fixed():
    torch.manual_seed(0)
    model, x = _Fixed().eval(), torch.randn(4, 3, 4)
    recipe = clipping_recipe(model, x, TARGET, 4, 8)
    with pytest.raises(
        mpq.ModelError, match=r"^reshape does not run on another batch size than 4: .*dynamic_batch=False"
    ):
        onnx.export(model, recipe, x)
    content = onnx.export(model, recipe, x, dynamic_batch=False)
    onnx.verify(content, fx.simulate(model, recipe, example_inputs=x), x).raise_if_different()
    with pytest.raises(mpq.ModelError, match=r"input 'x' of the ONNX model has shape \[4, 3, 4\], got \[2, 3, 4\]"):
        run(session(content), [x[:2].numpy()])


class _Square(nn.Module):
    """A tensor of the batch's size along two axes."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x):
        y = self.fc(x)
        return torch.softmax(y @ y.transpose(0, 1), 1)


def test_more_than_one_dynamic_dimension_is_refused_by_op():
    torch.manual_seed(0)
    model, x = _Square().eval(), torch.randn(4, 3)
    recipe = clipping_recipe(model, x, TARGET, 4, 8)
    with pytest.raises(mpq.ModelError, match=r"matmul: its shape is \(1, 1\) for one sample and \(2, 2\) for two"):
        onnx.export(model, recipe, x)


def test_images_of_another_size_are_refused_by_the_input_s_name(residual):
    x = residual[1]
    wide = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    recipe = clipping_recipe(wide, x, TARGET, 4, 8)
    content = onnx.export(wide, recipe, x)
    with pytest.raises(mpq.ModelError, match=r"input 'input' .* got \[6, 3, 9, 10\]; only dimensions with a name"):
        onnx.verify(content, fx.simulate(wide, recipe), torch.randn(6, 3, 9, 10))


class _Bessel(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return torch.special.i0(self.fc(x))


def test_an_op_without_an_onnx_form_is_refused_by_name():
    torch.manual_seed(0)
    model, x = _Bessel().eval(), torch.randn(5, 4)
    recipe = clipping_recipe(model, x, TARGET, 4, 8)
    with pytest.raises(mpq.UnsupportedOp, match=r"special_i0: special_i0 has no ONNX form here"):
        onnx.export(model, recipe, x)


def test_an_op_without_a_grid_and_without_an_onnx_form_is_refused_by_name_at_search():
    torch.manual_seed(0)
    model, x = nn.Sequential(_Bessel(), nn.Linear(4, 3)).eval(), torch.randn(6, 4)
    message = r"0.special_i0: no integer kernel for special_i0.* nothing that computes 0.special_i0"
    with pytest.raises(mpq.UnsupportedOp, match=message):
        fx.search(model, [x], TARGET, weight_bits=4, activation_bits=8)


def test_an_op_without_a_grid_between_layers_runs_in_float():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 6), nn.Softmax(1), nn.Linear(6, 3)).eval(), torch.randn(6, 6)
    recipe = fx.search(model, [x], TARGET, weight_bits=4, activation_bits=8)
    assert [(part.name, part.reason) for part in recipe.floats] == [("1", "no integer kernel for Softmax")]
    onnx.verify(onnx.export(model, recipe, x), fx.simulate(model, recipe, example_inputs=x), x).raise_if_different()


def test_average_pooling_past_the_edge_is_refused_with_the_numbers():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(2, 2, 1), nn.AvgPool2d(3, 2, ceil_mode=True)).eval(), torch.randn(3, 2, 8, 8)
    recipe = clipping_recipe(model, x, TARGET, 4, 8)
    with pytest.raises(mpq.UnsupportedOp, match=r"1: average pooling in ceil_mode .*size 8, window 3, stride 2"):
        onnx.export(model, recipe, x)


def test_an_example_that_is_not_the_model_s_is_refused(residual):
    model, _, recipe = residual
    with pytest.raises(mpq.ModelError, match="takes 1 inputs, and the example has 0"):
        onnx.export(model, recipe, ())
    with pytest.raises(mpq.ModelError, match="of the shape int do not go through the model"):
        onnx.export(model, recipe, {"x": 1})
    with pytest.raises(mpq.ModelError, match="of the shape float do not go through the model"):
        onnx.export(model, recipe, (1.0,))


def test_verify_needs_a_simulation_and_an_export_of_the_same_model(residual):
    model, x, recipe = residual
    content = onnx.export(model, recipe, x)
    with pytest.raises(mpq.ModelError, match="verify needs what simulate returned"):
        onnx.verify(content, model, x)
    with pytest.raises(mpq.ModelError, match="this is no ONNX model"):
        onnx.verify(b"abc", fx.simulate(model, recipe), x)


def test_without_onnx_the_export_says_what_to_install(residual, monkeypatch):
    model, x, recipe = residual
    content = onnx.export(model, recipe, x)
    with monkeypatch.context() as hidden:
        hidden.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(mpq.PluginError, match=r"onnxruntime is not installed; .*mpq-plugins\[onnx\]"):
            onnx.verify(content, fx.simulate(model, recipe), x)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(mpq.PluginError, match=r"onnx is not installed; .*mpq-plugins\[onnx\]"):
        onnx.export(model, recipe, x)

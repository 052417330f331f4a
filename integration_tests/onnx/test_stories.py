"""What a torch engineer does with ONNX: search, constrain, export a file, measure it, verify it."""

import io
from collections import Counter
from dataclasses import replace

import numpy as np
import onnx as onnx_package
import pytest
import torch
from torch import nn

import mpq_plugins as mpq
from integration_tests.torch_fx.recipes import clipping_recipe
from mpq_plugins.commands.digits import digits
from mpq_plugins.exporters.onnx.running import run, session
from mpq_torch import demo, fx, onnx
from mpq_torch.tests.alterations import shifted
from mpq_torch.tests.networks import Mobile, Residual, Shared, network


@pytest.fixture(scope="module")
def trained():
    """The demo's network after a short training, calibration images, test images and labels."""
    data = digits()
    images = torch.from_numpy(data.train_images).unsqueeze(1)
    torch.manual_seed(0)
    model = demo.network()
    demo.train(model, images[:600], torch.from_numpy(data.train_labels)[:600])
    return model, [images[:128], images[128:256]], torch.from_numpy(data.test_images).unsqueeze(1), data.test_labels


@pytest.fixture(scope="module")
def recipe(trained):
    model, calibration, *_ = trained
    return fx.search(model, calibration, "onnxruntime", mpq.Budget(average_weight_bits=4), activation_bits=6)


def test_a_searched_recipe_becomes_a_file_that_runs_exactly(trained, recipe, tmp_path):
    model, calibration, test, labels = trained
    on_grid = fx.constrain(model, recipe, calibration)
    simulated, path = fx.simulate(on_grid, recipe), tmp_path / "digits.onnx"
    content = onnx.export(on_grid, recipe, test[:1], path)
    assert path.read_bytes() == content
    for optimized in (True, False):
        verification = onnx.verify(path, simulated, test, optimized=optimized)
        assert verification.exact
        assert verification.elements == 10 * len(test)
    (scores,) = run(session(path), [test.numpy()])
    with torch.no_grad():
        np.testing.assert_array_equal(scores, simulated(test).numpy())
    assert (scores.argmax(1) == labels).mean() > 0.9


def test_the_grids_of_a_recipe_for_torch_can_be_taken_over(trained):
    model, calibration, test, _ = trained
    torch_recipe = fx.search(model, calibration, "torch-x86", weight_bits=4, activation_bits=8)
    recipe = replace(torch_recipe, target="onnxruntime")
    on_grid = fx.constrain(model, recipe, calibration)
    onnx.verify(onnx.export(on_grid, recipe, test[:1]), fx.simulate(on_grid, recipe), test).raise_if_different()


def test_weights_of_4_bits_and_fewer_take_half_the_bytes():
    model, x = nn.Sequential(nn.Conv2d(8, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).eval(), torch.randn(2, 8, 9, 9)
    weights = 64 * 8 * 9 + 64 * 64 * 9
    sizes = {
        (bits, opset, pack): len(
            onnx.export(model, clipping_recipe(model, x, "onnxruntime", bits, 8), x, opset=opset, pack=pack)
        )
        for bits, opset, pack in [(8, 21, True), (4, 21, True), (4, 21, False), (2, 25, True)]
    }
    overhead = sizes[8, 21, True] - weights
    assert overhead < 4000
    assert abs(sizes[4, 21, True] - weights / 2 - overhead) < 200  # the two casts
    assert abs(sizes[4, 21, False] - sizes[8, 21, True]) < 200
    assert abs(sizes[2, 25, True] - weights / 4 - overhead) < 200


def optimized_ops(content, tmp_path):
    """Counts of the ops that onnxruntime runs after its optimizations."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx_package.load(tmp_path / "optimized.onnx").graph.node)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", [Residual, Mobile])
def test_onnxruntime_runs_every_layer_in_an_integer_kernel(kind, bits, tmp_path):
    model, x = network(kind)
    ops = optimized_ops(onnx.export(model, clipping_recipe(model, x, "onnxruntime", bits, 6), x), tmp_path)
    layers = sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in model.modules())
    assert ops["QLinearConv"] + ops["QGemm"] == layers
    assert ops["QLinearAdd"] == 1
    assert not ops.keys() & {"Conv", "Gemm", "MatMul", "Add"}


def test_signed_activations_can_be_stored_without_a_zero_point():
    model, x = network(Residual)
    recipe = clipping_recipe(model, x, "onnxruntime", 4, 6)
    proto = onnx_package.load_from_string(onnx.export(model, recipe, x, symmetric=True))
    zeros = {t.name: t for t in proto.graph.initializer}
    used = [node.input[2] for node in proto.graph.node if node.op_type == "QuantizeLinear"]
    assert all(not onnx_package.numpy_helper.to_array(zeros[name]).any() for name in used)


def test_a_layer_that_is_called_twice_has_its_weight_once():
    model, x = network(Shared)
    proto = onnx_package.load_from_string(onnx.export(model, clipping_recipe(model, x, "onnxruntime", 4, 8), x))
    assert len([t for t in proto.graph.initializer if t.name.endswith("weight.codes")]) == 2  # conv and fc


def test_the_file_is_standard_onnx_of_the_opset_asked_for():
    model, x = network(Mobile)
    for opset in (21, 25):
        proto = onnx_package.load_from_string(
            onnx.export(model, clipping_recipe(model, x, "onnxruntime", 2, 3), x, opset=opset)
        )
        onnx_package.checker.check_model(proto, full_check=True)
        assert [(i.domain, i.version) for i in proto.opset_import] == [("", opset)]
        assert {node.domain for node in proto.graph.node} == {""}
        assert [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == [
            "batch",
            3,
            8,
            8,
        ]


class _Named(nn.Module):
    """Names that the graph has uses for itself."""

    def __init__(self):
        super().__init__()
        self.output = nn.Linear(4, 4)
        self.output_0 = nn.Linear(4, 2)

    def forward(self, x):
        y = self.output(x)
        return self.output_0(y), y


class _NamedInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, output):
        return self.fc(output)


def test_any_name_of_a_layer_or_an_input_will_do():
    torch.manual_seed(0)
    x = torch.randn(5, 4)
    for kind, outputs in ((_Named, ["output_0", "output_1"]), (_NamedInput, ["output_value"])):
        model = kind().eval()
        recipe = clipping_recipe(model, x, "onnxruntime", 4, 6)
        content = onnx.export(model, recipe, x)
        assert [o.name for o in session(content).get_outputs()] == outputs
        onnx.verify(content, fx.simulate(model, recipe), x).raise_if_different()


def test_the_model_that_was_given_stays_as_it_was(trained, recipe):
    model, _, test, _ = trained
    before = io.BytesIO()
    torch.save(model.state_dict(), before)
    onnx.export(model, recipe, test[:1])
    after = io.BytesIO()
    torch.save(model.state_dict(), after)
    assert before.getvalue() == after.getvalue()


def test_verify_says_which_site_differs_first():
    model, x = network(Residual)
    recipe = clipping_recipe(model, x, "onnxruntime", 4, 8)
    content, simulated = onnx.export(model, recipe, x), fx.simulate(model, recipe)
    simulated = shifted(simulated, "conv2", float(recipe["conv2.weight"].steps[0]))
    for optimized in (True, False):
        verification = onnx.verify(content, simulated, x, optimized=optimized)
        assert not verification
        assert verification.first_differing_site == "conv2"
        with pytest.raises(mpq.VerificationError, match=r"\d+ of 30 output values differ"):
            verification.raise_if_different()

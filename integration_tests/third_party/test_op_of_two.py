"""A vendor's op of two inputs, which runs in its steps wherever these do, in both frameworks."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mpq_plugins.graph.registered import check_op
from mpq_plugins.plugins import PluginHost
from mpq_plugins.registry import known, process, using

SOURCE = Path(__file__).parent / "mpq_acme" / "src"
STEPS = {"gate_op__sigmoid": "sigmoid", "gate_op": "mul", "gate__sigmoid": "sigmoid", "gate": "mul"}
BITS = {"weight_bits": 6, "activation_bits": 8, "progress": False}


@pytest.fixture(scope="module")
def gate():
    """The record, while mpq-acme's op is installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SOURCE))
        host = PluginHost(environment={})
        patch.setattr(process, "_host", [host])
        room = importlib.import_module("mpq_acme.gate")
        host.register(room, "acme-gate")
        yield room.GATE


def network():
    """The op as a function and as a module, in torch."""
    import torch
    from mpq_acme import torch_layers
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.last, self.gate = (
                nn.Linear(3, 4),
                nn.Linear(3, 4),
                nn.Linear(4, 2),
                torch_layers.Gate(),
            )

        def forward(self, x):
            a, b = self.a(x), self.b(x)
            return self.last(self.gate(torch_layers.gate(a, b), b))

    torch.manual_seed(0)
    return Net().eval(), torch.randn(32, 3)


@pytest.mark.parametrize(
    "target", ["generic-po2", "torch-x86", "torch-qnnpack", "torch-pt2e", "onnxruntime", "litert-po2"]
)
def test_it_is_exact_in_torch_on_every_runtime_that_has_its_steps(gate, target):
    from mpq_torch import fx, integer_program, litert, onnx, pt2e

    model, x = network()
    recipe = fx.search(model, x, target, **BITS)
    words = {entry.site: entry.op for entry in recipe.activations}
    assert {site: word for site, word in words.items() if "gate" in site} == STEPS
    verbs = pt2e if target == "torch-pt2e" else fx
    on_grid = verbs.constrain(model, recipe, x)
    simulated = verbs.simulate(on_grid, recipe)
    if target == "generic-po2":
        found = integer_program.verify_integers(integer_program.integers(on_grid, recipe), on_grid, recipe, [x])
    elif target == "onnxruntime":
        found = onnx.verify(onnx.export(on_grid, recipe), simulated, x)
    elif target == "litert-po2":
        found = litert.verify(litert.export(on_grid, recipe), simulated, x)
    else:
        found = verbs.verify(verbs.quantize(on_grid, recipe, x), simulated, x)
    assert found.exact


def test_a_runtime_that_lacks_a_step_says_so_and_leaves_the_op_in_float(gate):
    from mpq_torch import fx

    model, x = network()
    by_gelu = replace(gate, steps=(("gelu", ("input1",)), ("mul", ("input", "gelu"))))
    with using(known().with_more({"gate": by_gelu}, {})):
        recipe = fx.search(model, x, "torch-x86", **BITS)
    reason = "target 'torch-x86' has no kernel for gelu, of which gate is made"
    assert {part.name: part.reason for part in recipe.floats} == {"gate_op": reason, "gate": reason}


WRONG = {
    "none": ((), "says how many, and the steps that compute it"),
    "of no op": ((("sigmoidal", ("input",)),), "step 'sigmoidal' of its gate2 is no op"),
    "of an input that it has not": ((("sigmoid", ("input2",)),), "reads what no earlier step computes: input2"),
    "of something else": ((("add", ("input", "input1")),), "its steps compute something else than its value"),
}


@pytest.mark.parametrize("name", WRONG)
def test_steps_that_do_not_compute_it_are_refused(gate, name):
    steps, message = WRONG[name]
    assert message in str(check_op(replace(gate, word="gate2", spellings={}, steps=steps)))


@pytest.mark.parametrize("target", ["generic-po2", "litert-po2"])
def test_it_is_exact_in_keras(gate, target):
    from mpq_acme import keras_layers

    import mpq_tfmot
    from mpq_tfmot.keras import keras

    layers = keras.layers
    keras.utils.set_random_seed(0)
    x = keras.Input((3,), name="x")
    y = keras_layers.Gate(name="gate")([layers.Dense(4, name="a")(x), layers.Dense(4, name="b")(x)])
    model = keras.Model(x, layers.Dense(2, name="last")(y))
    values = np.random.default_rng(0).normal(size=(32, 3)).astype(np.float32)
    recipe = mpq_tfmot.search(model, values, target, **BITS)
    assert {entry.site: entry.op for entry in recipe.activations}["gate__sigmoid"] == "sigmoid"
    on_grid = mpq_tfmot.constrain(model, recipe, values)
    if target == "generic-po2":
        assert mpq_tfmot.verify_integers(mpq_tfmot.integers(on_grid, recipe), on_grid, recipe, values).exact
    else:
        simulated = mpq_tfmot.simulate(on_grid, recipe)
        assert mpq_tfmot.verify(mpq_tfmot.litert.export(on_grid, recipe), simulated, values).exact

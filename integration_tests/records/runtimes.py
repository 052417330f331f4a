"""What every record is run on: a target of each runtime, and the comparison of what it computes with the simulation."""

from torch import nn

import mpq_torch
from mpq_torch import fx, litert, onnx, pt2e

TARGETS = (
    "generic-po2",
    "torch-x86",
    "torch-onednn",
    "torch-qnnpack",
    "torch-pt2e",
    "onnxruntime",
    "litert-po2",
    "litert-po2-reference",
)


class Called(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def check_runtime(model, recipe, example, inputs=None):
    """Assert that the recipe's runtime, or the integer program where it names none, gives the simulation's numbers.

    example, inputs: tuples of arguments; inputs: what is compared, by default the example.
    """
    target, batches = recipe.target, [example if inputs is None else inputs]
    if target == "torch-pt2e":
        on_grid = pt2e.constrain(model, recipe, example_inputs=example)
        simulated = pt2e.simulate(on_grid, recipe, example_inputs=example)
        found = pt2e.verify(pt2e.quantize(on_grid, recipe, example), simulated, batches)
    elif target.startswith("torch"):
        simulated = fx.simulate(model, recipe, example_inputs=example)
        found = fx.verify(fx.quantize(model, recipe, example), simulated, batches)
    elif target == "onnxruntime":
        simulated = fx.simulate(model, recipe, example_inputs=example)
        found = onnx.verify(onnx.export(model, recipe, example), simulated, batches)
    elif target.startswith("litert"):
        found = litert.verify(litert.export(model, recipe, example), model, batches, recipe)
    else:
        check_integers(model, recipe, example, batches[0])
        return
    found.raise_if_different()


def check_integers(model, recipe, example, inputs=None):
    """Assert that the integer program gives the simulation's numbers."""
    program = mpq_torch.integers(model, recipe, example)
    mpq_torch.verify_integers(program, model, recipe, [example if inputs is None else inputs]).raise_if_different()

"""A torch model through all verbs, by both ways to integers."""

from __future__ import annotations

import torch

from integration_tests.bits import widest
from mpq_torch import fx, pt2e

BITS = widest("torch-x86")


def searched(model, x, keep_float=(), bits=BITS):
    """A recipe for the model."""
    target = "torch-x86"
    return fx.search(model, [x], target, weight_bits=bits, activation_bits=8, keep_float=keep_float, progress=False)


def converted(model, x, keep_float=(), bits=BITS):
    """The int8 model, after the proof that it is its simulation, bit for bit, constrained with data and without."""
    recipe = searched(model, x, keep_float, bits)
    batch = x if isinstance(x, tuple) else (x,)
    for calibration in ([x], None):
        on_grid = fx.constrain(model, recipe, calibration, example_inputs=x)
        int8 = fx.quantize(on_grid, recipe, batch)
        fx.verify(int8, fx.simulate(on_grid, recipe, example_inputs=x), [x]).raise_if_different()
    return int8


def converted_by_export(model, x, keep_float=(), bits=8):
    """The same by PT2E."""
    recipe = pt2e.search(
        model, [x], "torch-pt2e", weight_bits=bits, activation_bits=8, keep_float=keep_float, progress=False
    )
    batch = x if isinstance(x, tuple) else (x,)
    on_grid = pt2e.constrain(model, recipe, [x])
    exported = pt2e.quantize(on_grid, recipe, batch)
    pt2e.verify(exported, pt2e.simulate(on_grid, recipe, example_inputs=x), [x]).raise_if_different()
    return exported


def error_of(int8, model, x):
    """The root mean square of what the outputs lack to the float model's, as a fraction of theirs."""
    with torch.no_grad():
        wanted, got = model(x), int8(x)
    return float((wanted - got).square().mean().sqrt() / wanted.square().mean().sqrt())

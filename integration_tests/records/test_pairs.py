"""Every op of two activations on every runtime: all pairs of codes, on several steps, against exact arithmetic."""

import numpy as np
import pytest
import torch
from torch import nn

import mpq_torch
from mpq_plugins import Grid, Recipe
from mpq_plugins.graph.ops import all_ops
from mpq_torch import fx, litert, onnx, pt2e

WORDS = {"add": torch.add, "mul": torch.mul}
TIES = {
    ("torch-qnnpack", "add"): "away",
    ("litert-po2", "add"): "up",
    ("litert-po2-reference", "add"): "away",
}
"""How ties are rounded where it is not to the even code."""
TWICE = {("litert-po2-reference", "mul")}
"""What rounds twice: its simulation is compared with the runtime alone."""
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
GRIDS = {
    "8 bits": (Grid.power_of_two(8, 0), Grid.power_of_two(8, 2), Grid.power_of_two(8, 2)),
    "8 bits of one sign": (Grid.power_of_two(8, 1, False), Grid.power_of_two(8, 1), Grid.power_of_two(8, 1)),
    "few bits": (Grid.power_of_two(5, 1), Grid.power_of_two(3, 0, False), Grid.power_of_two(4, 1)),
    "two bits": (Grid.power_of_two(2, 1), Grid.power_of_two(2, 0), Grid.power_of_two(2, 0)),
}
"""Of both operands and of the result."""


def test_every_op_of_two_is_among_them():
    assert set(WORDS) == {word for word, op in all_ops().items() if op.arity == 2 and op.grid == "own"}


class Pair(nn.Module):
    """The op, and a layer that passes it on."""

    def __init__(self, function):
        super().__init__()
        self.function, self.last = function, nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.last.weight)

    def forward(self, a, b):
        return self.last(self.function(a, b))


def rounded(values, how):
    if how == "up":
        return np.floor(values + 0.5)
    if how == "away":
        return np.sign(values) * np.floor(np.abs(values) + 0.5)
    return np.rint(values)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("grids", GRIDS)
@pytest.mark.parametrize("word", WORDS)
def test_all_pairs_of_codes_are_exact(word, grids, target):
    first, second, own = GRIDS[grids]
    a, b = (np.arange(g.low, g.high + 1) * g.step for g in (first, second))
    a, b = (x.reshape(-1, 1) for x in np.broadcast_arrays(a[:, None], b[None, :]))
    x = tuple(torch.from_numpy(np.ascontiguousarray(v)).float() for v in (a, b))
    model = Pair(WORDS[word]).eval()
    inventory = fx.inventory(model, x, target=target)
    given = {"a": first, "b": second, word: own, "last": own, "last.weight": Grid.power_of_two(7, 1)}
    recipe = Recipe.from_inventory(inventory, given, target, "by hand")
    simulated = fx.simulate(model, recipe, example_inputs=x)
    got = simulated(*x).numpy()
    if (target, word) not in TWICE:
        real = (a + b if word == "add" else a * b) / own.step
        codes = np.clip(rounded(real, TIES.get((target, word))), own.low, own.high)
        assert np.array_equal(got, codes * own.step)
    program = mpq_torch.integers(model, recipe, x)
    mpq_torch.verify_integers(program, model, recipe, [x]).raise_if_different()
    if target == "torch-pt2e":
        on_grid = pt2e.constrain(model, recipe, example_inputs=x)
        pt2e.verify(pt2e.quantize(on_grid, recipe, x), simulated, [x]).raise_if_different()
    elif target.startswith("torch"):
        fx.verify(fx.quantize(model, recipe, x), simulated, [x]).raise_if_different()
    elif target == "onnxruntime":
        onnx.verify(onnx.export(model, recipe, x), simulated, [x]).raise_if_different()
    elif target.startswith("litert"):
        litert.verify(litert.export(model, recipe, x), model, [x], recipe).raise_if_different()

"""Every op of two activations on every runtime: all pairs of codes, on several steps, against exact arithmetic."""

import numpy as np
import pytest
import torch
from torch import nn

from integration_tests.records.runtimes import TARGETS, check_integers, check_runtime
from mpq_plugins import Grid, Recipe
from mpq_plugins.errors import GridError
from mpq_plugins.graph.ops import all_ops
from mpq_torch import fx, litert

WORDS = {"add": torch.add, "mul": torch.mul}
TIES = {
    ("torch-qnnpack", "add"): "away",
    ("litert-po2", "add"): "up",
    ("litert-po2-reference", "add"): "away",
}
"""How ties are rounded where it is not to the even code."""
TWICE = {("litert-po2-reference", "mul")}
"""What rounds twice: its simulation is compared with the runtime alone."""
GRIDS = {
    "8 bits": (Grid.power_of_two(8, 0), Grid.power_of_two(8, 2), Grid.power_of_two(8, 2)),
    "8 bits of one sign": (Grid.power_of_two(8, 1, False), Grid.power_of_two(8, 1), Grid.power_of_two(8, 1)),
    "few bits": (Grid.power_of_two(5, 1), Grid.power_of_two(3, 0, False), Grid.power_of_two(4, 1)),
    "two bits": (Grid.power_of_two(2, 1), Grid.power_of_two(2, 0), Grid.power_of_two(2, 0)),
}
"""Of both operands and of the result."""


def test_every_op_of_two_is_among_them():
    assert {*WORDS, "matmul"} == {word for word, op in all_ops().items() if op.arity == 2 and op.grid == "own"}


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
    model, recipe, x, real = case(word, GRIDS[grids], target)
    got = fx.simulate(model, recipe, example_inputs=x)(*x).numpy()
    if (target, word) not in TWICE:
        assert np.array_equal(got, on_grid(real, recipe[word], TIES.get((target, word))))
    check_integers(model, recipe, x)
    if target != "generic-po2":
        check_runtime(model, recipe, x)


@pytest.mark.parametrize("octaves", [10, 11, 15])
@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-optimized"])
def test_xnnpack_leaves_sums_of_steps_far_apart_to_a_kernel_that_rounds_otherwise(target, swapped, octaves):
    own, fine = Grid.power_of_two(8, 7), Grid.power_of_two(8, 7 - octaves)
    operands = (Grid.power_of_two(8, 6), fine)
    model, recipe, x, real = case("add", (*operands[:: -1 if swapped else 1], own), target)
    got = fx.simulate(model, recipe, example_inputs=x)(*x).numpy()
    ties = "up" if target == "litert-po2" and octaves <= 10 else "away"
    assert np.array_equal(got, on_grid(real, own, ties))
    check_integers(model, recipe, x)
    check_runtime(model, recipe, x)


@pytest.mark.parametrize("exponents", [(-7, -2, 0), (-8, -2, 0), (8, 6, -1), (8, 7, -1)])
def test_products_of_steps_far_apart_are_exact_on_xnnpack_and_the_kernels_that_it_leaves_them_to(exponents):
    model, recipe, x, _ = case("mul", [Grid.power_of_two(8, exponent) for exponent in exponents], "litert-po2")
    check_integers(model, recipe, x)
    check_runtime(model, recipe, x)


@pytest.mark.parametrize(
    ("target", "octaves"), [("litert-po2", 8), ("litert-po2-optimized", 8), ("litert-po2-reference", 19)]
)
def test_a_sum_that_a_kernel_saturates_or_dies_of_is_refused_by_site_and_numbers(target, octaves):
    grids = (Grid.power_of_two(8, octaves - 2), Grid.power_of_two(8, 0), Grid.power_of_two(8, -2))
    model, recipe, x, _ = case("add", grids, target)
    for verb in (litert.export, lambda *given: fx.constrain(*given[:2], example_inputs=given[2])):
        with pytest.raises(
            GridError, match=rf"'add': the step of its operand 'a' is {2**octaves} times the step .* larger"
        ):
            verb(model, recipe, x)


def case(word, grids, target):
    """A model of the op, its recipe, all pairs of codes as values, and what the op gives of them in real numbers."""
    first, second, own = grids
    a, b = (np.arange(g.low, g.high + 1) * g.step for g in (first, second))
    a, b = (x.reshape(-1, 1) for x in np.broadcast_arrays(a[:, None], b[None, :]))
    x = tuple(torch.from_numpy(np.ascontiguousarray(v)).float() for v in (a, b))
    model = Pair(WORDS[word]).eval()
    given = {"a": first, "b": second, word: own, "last": own, "last.weight": Grid.power_of_two(7, 1)}
    recipe = Recipe.from_inventory(fx.inventory(model, x, target=target), given, target, "by hand")
    return model, recipe, x, a + b if word == "add" else a * b


def on_grid(real, grid, ties):
    return np.clip(rounded(real / grid.step, ties), grid.low, grid.high) * grid.step

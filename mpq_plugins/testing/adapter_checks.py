"""What an adapter must hold to: its arithmetic is the reference's, and a model goes all the way to exact integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins import plugins
from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.costs.budget import Budget
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search.request import Request
from mpq_plugins.testing.framework_arrays import Arrays, arrays_of
from mpq_plugins.testing.gradient_cases import gradient_cases
from mpq_plugins.testing.nonconforming import require, require_close, require_equal
from mpq_plugins.testing.search_checks import check_recipe
from mpq_plugins.workspace.loading import commands_of

SEED = 3
BUDGET = Budget(average_weight_bits=4.5)
ACTIVATION_BITS = 8
ONE, POSITIVE = np.linspace(-2.0, 2.0, 12, dtype=np.float32), np.linspace(0.25, 8.0, 12, dtype=np.float32)
FUNCTIONS = {
    **dict.fromkeys(("exp", "exp2", "abs", "sign", "sin", "tanh", "sigmoid", "relu", "floor", "softmax"), (ONE,)),
    **dict.fromkeys(("sum", "mean", "max", "round", "ceil", "stop_gradient"), (ONE,)),
    **dict.fromkeys(("log", "log2", "sqrt"), (POSITIVE,)),
    **dict.fromkeys(("minimum", "maximum"), (ONE, POSITIVE - 3)),
}
"""Functions of Ops that take arrays alone, and what they are given."""


@dataclass(frozen=True)
class Story:
    """A model from float to integers. commands: of the adapter (mpq_plugins.workspace.command_protocol)."""

    commands: Any
    model: Any
    batches: list[Any]
    inventory: Inventory
    recipe: Recipe
    on_grid: Any


def check_primitive(name: str) -> None:
    """fake_quantize has the values and gradients of the reference, on random numbers, ties and edges."""
    arrays = arrays_of(name)
    for case in gradient_cases():
        upstream = arrays.tensor(case.upstream)

        def function(given: Arrays, case: Any = case, upstream: Any = upstream) -> tuple[Any, Arrays]:
            y = arrays.OPS.fake_quantize(given["x"], given["step"], given["low"], given["high"], **case.options)
            return arrays.OPS.sum(y * upstream), {"y": y}

        inputs = {"x": case.x, "step": case.step, "low": case.low, "high": case.high}
        gradients, results = arrays.gradients(function, inputs)
        word = f"fake_quantize of {name!r}, case {case.name}"
        require_close(results["y"], case.value(), f"{word}: the values", 1e-6, 1e-7)
        for argument, value in gradients.items():
            require_close(value, getattr(case.gradients(), argument), f"{word}: the gradient of {argument}", 2e-5, 1e-5)


def check_functions(name: str) -> None:
    """The other functions of Ops give what NumPy gives."""
    arrays = arrays_of(name)
    for function, inputs in FUNCTIONS.items():

        def call(given: Arrays, function: str = function) -> tuple[Any, Arrays]:
            return arrays.OPS.sum(given["0"]), {"y": getattr(arrays.OPS, function)(*given.values())}

        _, results = arrays.gradients(call, {str(at): value for at, value in enumerate(inputs)})
        require_close(results["y"], getattr(NUMPY, function)(*inputs), f"{function} of {name!r} is not that of NumPy")


def tell(name: str) -> Story:
    """The adapter's own small network, searched under a budget and put on its grids."""
    arrays = arrays_of(name)
    commands = commands_of(name)
    model, data = arrays.network(SEED)
    batches = commands.batches(model, data)
    request = Request(arrays.TARGET, "msqe", BUDGET, activation_bits=ACTIVATION_BITS, progress=False)
    measured = commands.measure(model, batches, request.check, progress=False)
    recipe = request.search(measured.model, measured.framework)
    on_grid = commands.constrain(model, recipe, batches)
    return Story(commands, model, batches, measured.model.inventory, recipe, on_grid)


def check_search(story: Story) -> None:
    """The recipe has a legal grid for every tensor of the model, and keeps its budget."""
    check_recipe(story.recipe, story.inventory, plugins.target_of(story.recipe))


def check_exactness(story: Story) -> None:
    """What runs gives the numbers of the simulation, all of them."""
    found = story.commands.verify(story.on_grid, story.recipe, story.batches)
    require(found.exact, f"the converted model differs from its simulation: {found}")
    require(found.elements > 0, "verify compared no output at all")


def check_simulation(story: Story) -> None:
    """Every activation of the simulation lies on the grid of its recipe."""
    seen = set()
    for site, _, simulated in story.commands.site_values(story.model, story.on_grid, story.recipe, story.batches):
        grid = story.recipe[site]
        require_equal(simulated, grid.project(simulated), f"the simulation of {site} is off its grid ({grid})")
        seen.add(site)
    require(seen, "site_values gives no activation")


def check_hardening(story: Story) -> None:
    """A model on its grids stays where it is when it is put on them again."""
    again = story.commands.constrain(story.on_grid, story.recipe, story.batches)
    values = [
        {site: simulated for site, _, simulated in story.commands.site_values(m, m, story.recipe, story.batches[:1])}
        for m in (story.on_grid, again)
    ]
    for site, value in values[0].items():
        require_equal(values[1][site], value, f"constrain is not idempotent: {site} changes the second time")


def check_determinism(name: str, story: Story) -> None:
    """Equal models and data have one fingerprint, and one recipe."""
    other = tell(name)
    prints = [s.commands.fingerprint(s.model, s.batches) for s in (story, other)]
    require(prints[0] == prints[1], f"two equal networks of {name!r} have two fingerprints")
    require(story.recipe.to_json() == other.recipe.to_json(), f"{name!r}: one question gave two recipes")

"""What is recorded of a torch model: inventory, codes, converted outputs, files."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

import mpq_torch
from integration_tests.oracle import digests
from integration_tests.oracle.recipes import bias_of, drawn_grids, exponent_of, fine_recipe, in_order
from integration_tests.oracle.runtimes import judged, run_onnx
from mpq_plugins import MPQError, Recipe, integers
from mpq_torch import fx, onnx, pt2e
from mpq_torch.plugin import commands

ENGINES = {"torch-x86": "x86", "torch-onednn": "onednn", "torch-qnnpack": "qnnpack"}
SEEDS = {
    "generic-po2": (0, 1),
    "generic-po2-per-channel": (2,),
    "torch-x86": (3,),
    "torch-onednn": (4,),
    "torch-qnnpack": (5,),
    "torch-pt2e": (6,),
    "onnxruntime": (7, 8),
    "torch-pt2e-x86": (9,),
}
"""By target the seeds of its recipes."""
OTHER_ONNX = {"opset": 25, "symmetric": True}
"""Another way to write the same model, for every second seed."""


def observe(model, inputs, seeds=SEEDS, keep_float=(), bits=None, largest=None):
    """Everything that is recorded of a model but what ``constrain`` makes with data.

    inputs: a tuple of tensors. bits: of all sites, instead of drawn ones. largest: as of ``drawn_grids``.
    """
    inventory = fx.inventory(model, inputs, keep_float)
    found = {}
    for target, numbers in seeds.items():
        own = fx.inventory(model, inputs, keep_float, target)
        for seed in numbers:
            recipe = recipe_of(model, inputs, own, target, seed, keep_float, bits, largest)
            found[f"{target} {seed}"] = with_recipe(model, inputs, recipe, seed)
    return {"inventory": digests.of_inventory(inventory), "recipes": found}


def recipe_of(model, inputs, inventory, target, seed, keep_float=(), bits=None, largest=None):
    """A drawn recipe; one that keeps ops in float comes from a search, whose grids are then replaced."""
    grids = drawn_grids(inventory, target, seed, bits, largest)
    if not keep_float:
        return Recipe.from_inventory(inventory, grids, target, "drawn")
    searched = fx.search(
        model, [inputs], target, weight_bits=4, activation_bits=4, keep_float=keep_float, progress=False
    )
    return searched.with_grids(grids)


def largest_exponents(model, inputs):
    """Site -> base-two logarithm of its largest magnitude in the float model."""
    recipe = fine_recipe(fx.inventory(model, inputs))
    found = {site: exponent_of(floats) for site, floats, _ in commands.site_values(model, model, recipe, [inputs])}
    parameters = pt2e.constrain(model, recipe).state_dict()
    return found | {entry.site: exponent_of(parameters[entry.site].numpy()) for entry in recipe.weights}


def with_recipe(model, inputs, recipe, seed):
    """What is recorded of a model with one recipe; weights are rounded to nearest."""
    simulated = fx.simulate(model, recipe)
    wanted = outputs_of(simulated, inputs)
    found = {"recipe": digests.of_recipe(recipe), "sites": site_codes(model, inputs, recipe)}
    program = lowered(model, inputs, recipe)
    ends = isinstance(program, str) or bool(program.float_ops)
    if not isinstance(program, str):
        codes = integers.input_codes(program, input_names(program, simulated, inputs))
        results = integers.run(program, codes)
        found["program"] = digests.of_program(program)
        found["integer outputs"] = {name: digests.of_codes(value) for name, value in results.items()}
    else:
        found["program"] = program
    found["outputs"] = rounded(wanted) if ends else " ".join(map(digests.of_values, wanted))
    found.update(converted(model, inputs, recipe, simulated, wanted, ends, seed))
    return found


def lowered(model, inputs, recipe):
    """The integer program, or the kind of error where there is none."""
    try:
        return mpq_torch.integers(model, recipe, inputs)
    except MPQError as error:
        return f"refused: {type(error).__name__}"


def input_names(program, simulated, inputs):
    """The inputs by the names of their tensors in the program, which are those of the model's arguments."""
    names = [node.name for node in simulated.simulation.graph.arguments]
    given = dict(zip(names, (x.numpy() for x in inputs), strict=True))
    return {entrance.tensor: given[entrance.tensor] for entrance in program.inputs}


def site_codes(model, inputs, recipe):
    """Site -> hash of its codes in the simulation, weights and activations in the model's order."""
    codes = {
        site: digests.of_codes(np.rint(values / recipe[site].steps[0]))
        for site, _, values in commands.site_values(model, model, recipe, [inputs])
    }
    codes.update(parameter_codes(pt2e.constrain(model, recipe), recipe))
    return in_order(recipe, codes)


def outputs_of(model, inputs, engine=None):
    """The tensors that a model returns, as float arrays."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = engine or before
    try:
        with torch.no_grad():
            leaves = tree_leaves(model(*inputs))
    finally:
        torch.backends.quantized.engine = before
    return [(leaf.dequantize() if leaf.is_quantized else leaf).double().numpy() for leaf in leaves]


def rounded(outputs):
    """The first values of every output of a float end."""
    return [round(float(value), 6) for output in outputs for value in output.ravel()[:4]]


def converted(model, inputs, recipe, simulated, wanted, ends, seed):
    """Outputs of the model on what runs the recipe's target, and hashes of the files."""
    try:
        if recipe.target in ENGINES:
            return _on_engine(model, inputs, recipe, simulated, wanted, ends)
        if recipe.target.startswith("torch-pt2e"):
            graph = pt2e.quantize(model, recipe, inputs)
            running = pt2e.lower_to_x86(graph, inputs) if recipe.target == "torch-pt2e-x86" else graph
            exact = pt2e.verify(running, simulated, [inputs]).exact
            return {"converted": judged(outputs_of(running, inputs), wanted, ends, exact)}
        if recipe.target == "onnxruntime":
            return _as_onnx(model, inputs, recipe, simulated, wanted, ends, seed)
    except MPQError as error:
        return {"converted": f"refused: {type(error).__name__}"}
    return {}


def _on_engine(model, inputs, recipe, simulated, wanted, ends):
    engine = ENGINES[recipe.target]
    if engine not in torch.backends.quantized.supported_engines:
        return {"converted": None}
    int8 = fx.quantize(model, recipe, inputs)
    exact = fx.verify(int8, simulated, [inputs]).exact
    return {"converted": judged(outputs_of(int8, inputs, engine), wanted, ends, exact)}


def _as_onnx(model, inputs, recipe, simulated, wanted, ends, seed):
    content = onnx.export(model, recipe, inputs, **(OTHER_ONNX if seed % 2 == 0 else {}))
    exact = onnx.verify(content, simulated, [inputs]).exact
    runs = {
        f"converted, {way}": judged(run_onnx(content, [x.numpy() for x in inputs], way), wanted, ends, exact)
        for way in ("optimized", "as written")
    }
    return {"onnx": digests.of_bytes(content), **runs}


def constrained(model, inputs, calibration, seeds, keep_float=(), largest=None):
    """Hashes of the codes of every weight and bias that ``constrain`` makes with data, by target."""
    inventory, found = fx.inventory(model, inputs, keep_float), {}
    for target, seed in seeds.items():
        recipe = recipe_of(model, inputs, inventory, target, seed, keep_float, None, largest)
        found[target] = {"weights": parameter_codes(pt2e.constrain(model, recipe, [calibration]), recipe)}
    return found


def parameter_codes(on_grid, recipe):
    """Hashes of the codes of all weights, and of the values of all biases."""
    parameters, found = on_grid.state_dict(), {}
    for entry in recipe.weights:
        weight = parameters[entry.site].numpy()
        if not np.array_equal(entry.grid.project(weight), weight):
            raise AssertionError(f"{entry.site} does not lie on its grid")
        found[entry.site] = digests.of_codes(entry.grid.quantize(weight))
        bias = bias_of(entry.site)
        if bias in parameters:
            found[bias] = digests.of_values(parameters[bias].numpy())
    return found

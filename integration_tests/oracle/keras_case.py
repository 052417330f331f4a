"""What is recorded of a Keras model: inventory, codes, converted outputs, files."""

from __future__ import annotations

import numpy as np

import mpq_tfmot
from integration_tests.oracle import digests
from integration_tests.oracle.recipes import drawn_recipe, exponent_of, fine_recipe, in_order
from integration_tests.oracle.runtimes import judged, run_litert, run_onnx
from mpq_plugins import MPQError, integers
from mpq_tfmot.plugin import commands

KERNELS = {"litert-po2": "xnnpack", "litert-po2-reference": "builtin", "litert-int8": "xnnpack"}
SEEDS = {
    "generic-po2": (0,),
    "generic-po2-per-channel": (1,),
    "litert-po2": (2, 3, 4),
    "litert-po2-reference": (5, 6),
    "litert-int8": (7,),
    "onnxruntime": (8, 9),
}
"""By target the seeds of its recipes."""
OTHER_ONNX = {"opset": 25, "symmetric": True}
"""Another way to write the same model, for every second seed."""


def observe(model, inputs, seeds=SEEDS, bits=None, largest=None):
    """Everything that is recorded of a model but what ``constrain`` makes with data.

    inputs: a list of arrays. bits: of all sites, instead of drawn ones. largest: as of ``drawn_grids``.
    """
    inventory, found = mpq_tfmot.inventory(model), {}
    for target, numbers in seeds.items():
        for seed in numbers:
            recipe = drawn_recipe(inventory, target, seed, bits, largest)
            found[f"{target} {seed}"] = with_recipe(model, inputs, recipe, seed)
    return {"inventory": digests.of_inventory(inventory), "recipes": found}


def with_recipe(model, inputs, recipe, seed):
    """What is recorded of a model with one recipe; weights are rounded to nearest."""
    simulated = mpq_tfmot.simulate(model, recipe)
    outputs = simulated.predict(inputs)
    wanted = outputs if isinstance(outputs, list) else [outputs]
    program = lowered(model, recipe)
    free = isinstance(program, str)
    ends = float_ends(model)
    found = {"recipe": digests.of_recipe(recipe), "sites": site_codes(model, inputs, recipe), "program": program}
    if not free:
        found["sites"] = in_order(recipe, {**found["sites"], **parameter_codes(program)})
        names = dict(zip((tensor.node.layer.name for tensor in model.inputs), inputs, strict=True))
        results = integers.run(program, integers.input_codes(program, names))
        found["program"] = digests.of_program(program)
        found["integer outputs"] = {name: digests.of_codes(value) for name, value in results.items()}
    found["outputs"] = rounded(wanted) if ends else " ".join(map(digests.of_values, wanted))
    found.update(converted(model, inputs, recipe, simulated, wanted, ends, seed))
    return found


def largest_exponents(model, inputs):
    """Site -> base-two logarithm of its largest magnitude in the float model."""
    recipe = fine_recipe(mpq_tfmot.inventory(model))
    values = commands.site_values(model, model, recipe, [tuple(inputs)])
    found = {site: exponent_of(floats) for site, floats, _ in values}
    program = mpq_tfmot.integers(model, recipe)
    return found | {w.name: exponent_of(program.arrays[w.name] * recipe[w.name].step) for w in program.weights}


def lowered(model, recipe):
    """The integer program, or the kind of error where there is none (steps that are no powers of two)."""
    try:
        return mpq_tfmot.integers(model, recipe)
    except MPQError as error:
        return f"refused: {type(error).__name__}"


def float_ends(model):
    """Whether the model ends in float: a power-of-two recipe's program says so, whatever the target."""
    return bool(lowered(model, drawn_recipe(mpq_tfmot.inventory(model), "generic-po2", 0)).float_ops)


def site_codes(model, inputs, recipe):
    """Activation -> hash of its codes in the simulation, in the model's order."""
    return {
        site: digests.of_codes(np.rint(values / recipe[site].steps[0]))
        for site, _, values in commands.site_values(model, model, recipe, [tuple(inputs)])
    }


def parameter_codes(program):
    """Hashes of the codes of all weights and biases of an integer program."""
    names = [entry.name for entry in (*program.weights, *program.biases)]
    return {name: digests.of_codes(program.arrays[name]) for name in names}


def rounded(outputs):
    """The first values of every output of a float end."""
    return [round(float(value), 6) for output in outputs for value in output.ravel()[:4]]


def converted(model, inputs, recipe, simulated, wanted, ends, seed):
    """Outputs of the model on what runs the recipe's target, and hashes of the files."""
    try:
        if recipe.target in KERNELS:
            return _as_litert(model, inputs, recipe, simulated, wanted, ends, seed)
        if recipe.target == "onnxruntime":
            return _as_onnx(model, inputs, recipe, simulated, wanted, ends, seed)
    except MPQError as error:
        return {"converted": f"refused: {type(error).__name__}"}
    return {}


def _as_litert(model, inputs, recipe, simulated, wanted, ends, seed):
    content = mpq_tfmot.litert.export(model, recipe, pack=seed % 2 == 0)
    exact = mpq_tfmot.verify(content, simulated, inputs).exact
    outputs = run_litert(content, inputs, KERNELS[recipe.target])
    return {"tflite": digests.of_bytes(content), "converted": judged(outputs, wanted, ends, exact)}


def _as_onnx(model, inputs, recipe, simulated, wanted, ends, seed):
    content = mpq_tfmot.onnx.export(model, recipe, **(OTHER_ONNX if seed % 2 == 0 else {}))
    exact = mpq_tfmot.onnx.verify(content, simulated, [tuple(inputs)]).exact
    runs = {
        f"converted, {way}": judged(run_onnx(content, inputs, way), wanted, ends, exact)
        for way in ("optimized", "as written")
    }
    return {"onnx": digests.of_bytes(content), **runs}


def constrained(model, calibration, seeds, largest=None):
    """Hashes of the codes of every weight and bias that ``constrain`` makes with data, by target."""
    inventory, found = mpq_tfmot.inventory(model), {}
    for target, seed in seeds.items():
        recipe = drawn_recipe(inventory, target, seed, largest=largest)
        on_grid = mpq_tfmot.constrain(model, recipe, [tuple(calibration)])
        found[target] = {"weights": parameter_codes(mpq_tfmot.integers(on_grid, recipe))}
    return found

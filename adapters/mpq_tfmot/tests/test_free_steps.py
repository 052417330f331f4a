"""Free steps: every integer op, at any step, gives the codes of the LiteRT interpreter; searched recipes too."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import float_values
from mpq_plugins import Grid, GridError, Recipe
from mpq_plugins.exporters.litert.running import run_litert, tensor_names, with_outputs
from mpq_plugins.graph.arithmetic import int8_zero_point
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.graph.weights import as_framework
from mpq_tfmot import constrain, harden, litert, quantize, search, simulate, verify
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.tests.networks import NETWORKS, network, samples, settled

layers = keras.layers


def every_op(rng):
    """A network of random sizes with every op that computes: several hundred thousand codes."""
    height, channels, middle = (int(n) for n in rng.integers((7, 2, 2), (14, 20, 24)))
    inputs = keras.Input((height, height, channels), name="image")
    x = layers.Conv2D(middle, 3, padding="same", activation="relu", name="conv")(inputs)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    added = layers.ReLU(name="relu")(layers.Add(name="add")([x, y]))
    pooled = layers.MaxPooling2D(2, name="max")(added)
    averaged = layers.AveragePooling2D(3, padding="same", name="average")(added)
    transposed = layers.Conv2DTranspose(5, 3, strides=2, padding="same", name="transposed")(pooled)
    joined = layers.Concatenate(name="cat")([pooled, layers.Conv2D(middle, 1, name="pointwise")(pooled)])
    fc = layers.Dense(17, name="fc")(layers.GlobalAveragePooling2D(name="mean")(joined))
    return settled(keras.Model(inputs, [fc, transposed, layers.Flatten(name="flat")(averaged)]), int(rng.integers(99)))


def free_recipe(model, x, rng, per_channel):
    """Steps from an eighth to the whole of what clips nothing, drawn at random."""
    reading = read_model(model)
    graph = reading.graph
    inventory = take_sites(graph).inventory
    largest = {name: np.abs(np.asarray(value)).max() for name, value in float_values(reading, x).items()}
    shared, grids = {}, {}
    for site in inventory:
        if site.kind == "activation":
            group = site.group or site.name
            step = largest[site.name] / (128 if site.signed else 256) * 2 ** rng.uniform(-3, 0)
            grids[site.name] = Grid(8, (shared.setdefault(group, float(np.float32(step))),), site.signed)
            continue
        weight = np.abs(as_framework(graph[site.name.removesuffix(".weight")], graph.layout))
        others = tuple(d for d in range(weight.ndim) if d != site.channel_axis)
        peaks = weight.max(axis=others) if per_channel else [weight.max()]
        steps = [float(np.float32(peak / 128 * 2 ** rng.uniform(-1, 0))) for peak in peaks]
        grids[site.name] = Grid(8, tuple(steps), axis=site.channel_axis if per_channel else None)
    return Recipe.from_inventory(inventory, grids, "litert-int8", "by hand")


@pytest.mark.parametrize("seed", range(6))
def test_every_op_gives_the_codes_of_the_interpreter_at_random_steps(seed):
    rng = np.random.default_rng(seed)
    model = every_op(rng)
    x = 2 * samples(model, 32, seed)
    recipe = free_recipe(model, x, rng, per_channel=seed % 2 == 0)
    flat, simulation = litert.export(model, recipe), simulate(model, recipe)
    simulated = simulation.sites(x)
    names = [name for name in simulated if name in tensor_names(flat)]
    assert {"image", "conv", "depthwise", "add", "average", "transposed", "mean", "fc"} <= set(names)
    for name, codes in zip(names, run_litert(with_outputs(flat, names), x), strict=True):
        grid = recipe[name]
        expected = np.rint(np.asarray(simulated[name]) / grid.steps[0]) + int8_zero_point(grid)
        np.testing.assert_array_equal(codes, expected, err_msg=name)


def test_accumulators_past_the_whole_numbers_of_float32_round_as_the_kernel_rounds_them():
    model = keras.Sequential([keras.Input((4000,), name="x"), layers.Dense(40, name="fc")])
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 1, (4000, 40)) * np.where(rng.random(40) < 0.5, -1, 1)
    model.layers[-1].set_weights([weight, rng.normal(size=40)])
    x = rng.uniform(0, 1, (256, 4000)).astype(np.float32)
    # the largest sums are near 4000 * 127 * 127 = 2**25.9, and spread over all the codes of the output
    grids = {"x": Grid(8, (0.0079,)), "fc.weight": Grid(8, (0.0077,)), "fc": Grid(8, (13.7,))}
    recipe = Recipe.from_inventory(take_sites(read_model(model).graph).inventory, grids, "litert-int8", "by hand")
    accumulators = np.abs(grids["x"].quantize(x).astype(np.int64) @ grids["fc.weight"].quantize(weight))
    assert accumulators.max() > 2**24
    verify(litert.export(model, recipe), simulate(model, recipe), x).raise_if_different()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_searched_recipe_of_free_steps_is_exact_and_constraining_twice_changes_nothing(kind, per_channel):
    model = network(kind)
    x = samples(model, 32)
    recipe = search(model, x, "litert-int8", weight_bits=8, activation_bits=8, per_channel=per_channel)
    assert not any(grid.is_power_of_two for grid in recipe.values())
    on_grid = constrain(model, recipe, x)
    verify(litert.export(on_grid, recipe), simulate(on_grid, recipe), 1.5 * x).raise_if_different()
    for once, twice in zip(on_grid.get_weights(), constrain(on_grid, recipe, x).get_weights(), strict=True):
        np.testing.assert_array_equal(once, twice)


def test_free_steps_lose_less_than_powers_of_two():
    model = network("series")
    x = samples(model, 64)
    wanted = model(x).numpy()
    errors = {}
    for target in ("litert-int8", "litert-po2"):
        recipe = search(model, x, target, weight_bits=8, activation_bits=8)
        simulation = simulate(constrain(model, recipe, x), recipe)
        errors[target] = float(np.mean((simulation.predict(x) - wanted) ** 2))
    assert errors["litert-int8"] < errors["litert-po2"]


def test_a_tfmot_model_keeps_the_free_steps_of_its_recipe():
    model = network("residual")
    x = samples(model, 32)
    recipe = search(model, x, "litert-int8", weight_bits=8, activation_bits=8)
    quantized = quantize(constrain(model, recipe, x), recipe)
    assert dict(harden(quantized, "litert-int8").items()) == dict(recipe.items())
    verify(litert.export(quantized, recipe), simulate(quantized, recipe), x).raise_if_different()


def test_an_add_onto_a_grid_too_fine_for_its_operands_is_refused_by_name():
    model = network("residual")
    x = samples(model)
    recipe = search(model, x, "litert-int8", weight_bits=8, activation_bits=8)
    fine = Grid(8, (max(recipe["conv1"].step, recipe["conv2"].step) / 300,), recipe["add"].signed)
    with pytest.raises(GridError, match=r"'add': the step of its operand .* is 300 times"):
        litert.export(model, recipe.with_grids({"add": fine, "pool": fine}))

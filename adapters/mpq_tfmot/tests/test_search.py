"""Search, constrain, simulate and convert on small networks."""

import numpy as np
import pytest

import mpq_plugins as mpq
from mpq_tfmot import constrain, litert, search, simulate, verify
from mpq_tfmot.keras import tf
from mpq_tfmot.tests.networks import NETWORKS, network, residual, samples


def error(model, recipe, reference, x):
    return float(np.mean((simulate(model, recipe).predict(x) - reference) ** 2))


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_search_under_a_budget_keeps_it_and_converts_exactly(kind):
    model = network(kind)
    x = samples(model, 64)
    recipe = search(model, x, "litert-po2", mpq.Budget(average_weight_bits=4), activation_bits=8)
    assert recipe.average_weight_bits <= 4
    on_grid = constrain(model, recipe, x)
    simulated = simulate(on_grid, recipe)
    verify(litert.export(on_grid, recipe), simulated, samples(model, 20, seed=3)).raise_if_different()


def test_compensated_rounding_is_nearer_to_the_float_model_than_nearest():
    model = network("mobile")
    x, fresh = samples(model, 128), samples(model, 128, seed=5)
    recipe = search(model, x, "litert-po2", weight_bits=4, activation_bits=8)
    reference = model(fresh).numpy()
    assert error(constrain(model, recipe, x), recipe, reference, fresh) < 0.7 * error(model, recipe, reference, fresh)


def test_each_step_of_the_rounding_helps():
    model = network("mobile")
    x, fresh = samples(model, 256), samples(model, 256, seed=5)
    recipe = search(model, x, "litert-po2", weight_bits=3, activation_bits=8)
    reference = model(fresh).numpy()
    steps = [constrain(model, recipe), constrain(model, recipe, x, nearest=True), constrain(model, recipe, x)]
    errors = [error(on_grid, recipe, reference, fresh) for on_grid in steps]
    assert errors == sorted(errors, reverse=True)
    fewer = error(constrain(model, recipe, x, positions=256), recipe, reference, fresh)
    assert fewer > errors[-1]


def test_constrain_is_idempotent():
    model = network("residual")
    x = samples(model, 32)
    recipe = search(model, x, "litert-po2", weight_bits=4, activation_bits=6)
    once = constrain(model, recipe, x)
    twice = constrain(once, recipe, x)
    for a, b in zip(once.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_more_bits_are_nearer_to_the_float_model():
    model = network("residual")
    x = samples(model, 64)
    errors = []
    for bits in (3, 5, 8):
        recipe = search(model, x, "litert-po2", weight_bits=bits, activation_bits=8)
        errors.append(error(constrain(model, recipe, x), recipe, model(x).numpy(), x))
    assert errors == sorted(errors, reverse=True)


def test_calibration_may_be_a_dataset_of_images_and_labels():
    model = network("residual")
    x = samples(model, 16)
    dataset = tf.data.Dataset.from_tensor_slices((x, np.zeros(16))).batch(5)
    fixed = {"weight_bits": 5, "activation_bits": 8}
    assert search(model, dataset, "litert-po2", **fixed) == search(model, [x], "litert-po2", **fixed)


def test_a_channel_with_almost_no_weight_keeps_its_bias_within_the_accumulator():
    model = residual()
    weight, bias = model.get_layer("fc").get_weights()
    weight[:, 2] *= 1e-14
    bias[2] = 3.0
    model.get_layer("fc").set_weights([weight, bias])
    x = samples(model, 16)
    recipe = search(model, x, "litert-po2", weight_bits=8, activation_bits=8)
    on_grid = constrain(model, recipe, x)
    simulated = simulate(on_grid, recipe)
    verify(litert.export(on_grid, recipe), simulated, x).raise_if_different()
    logits = simulated.sites(x)["fc"].numpy()
    np.testing.assert_allclose(logits[:, 2], 3.0, atol=2 * recipe["fc"].step)

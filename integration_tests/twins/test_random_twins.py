"""Random networks with the same weights in both frameworks: the same recipe, and the same integers."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import torch

import mpq_plugins as mpq
import mpq_tfmot
from benchmarks.twin_networks import Step, TorchTwin, draw, images, keras_twin
from benchmarks.twins import compare
from mpq_plugins.errors import GridError
from mpq_torch import fx

SEEDS = (1, 2, 4)  # adds, concatenations, depthwise convolutions, a flattened image before a dense layer


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("target", ["generic-po2", "generic-po2-per-channel"])
def test_both_frameworks_find_the_same_grids_and_round_to_the_same_codes(seed, target):
    outcome = compare(draw(seed), seed, 70, target)
    assert outcome.grids == ()
    assert outcome.tensors == ()


@pytest.mark.parametrize("listed", [("conv1", "conv2", "conv3"), ("conv3", "conv1", "conv2")])
def test_a_projected_shortcut_is_rounded_before_the_branch_that_makes_up_for_it(listed):
    rng = np.random.default_rng(0)

    def conv(name, inputs, channels, kernel, relu):
        weight = rng.normal(size=(8, channels, kernel, kernel)) * (2 / (channels * kernel**2)) ** 0.5
        bias = rng.normal(size=8) * 0.1
        return Step(name, "conv", (inputs,), weight.astype(np.float32), bias.astype(np.float32), relu)

    first, inner = conv("conv0", "x", 3, 3, True), conv("conv1", "conv0", 8, 3, True)
    branches = {
        "conv1": inner,
        "conv2": conv("conv2", "conv1", 8, 3, False),
        "conv3": conv("conv3", "conv0", 8, 1, False),
    }
    dense = rng.normal(size=(5, 8)).astype(np.float32)
    end = (
        Step("add4", "add", ("conv3", "conv2"), relu=True),
        Step("mean5", "mean", ("add4",)),
        Step("dense6", "dense", ("mean5",), dense, np.zeros(5, np.float32)),
    )
    outcome = compare((first, *(branches[name] for name in listed), *end), 0, 70, "generic-po2")
    assert outcome.tensors == ()


@pytest.fixture(scope="module")
def keras_case():
    model, (_, x) = keras_twin(draw(4)), images(4, 70)
    recipe = mpq_tfmot.search(model, x, "generic-po2", weight_bits=4, activation_bits=8, progress=False)
    return model, x, recipe, mpq_tfmot.constrain(model, recipe, x).get_weights()


@pytest.mark.parametrize("sizes", [[64, 6], [1, 68, 1], [10] * 7])
def test_the_cut_of_the_calibration_set_into_batches_changes_no_recipe_and_no_integer_in_keras(keras_case, sizes):
    model, x, recipe, constrained = keras_case
    batches = np.split(x, np.cumsum(sizes)[:-1])
    again = mpq_tfmot.search(model, batches, "generic-po2", weight_bits=4, activation_bits=8, progress=False)
    assert dict(again.items()) == dict(recipe.items())
    for a, b in zip(mpq_tfmot.constrain(model, recipe, batches).get_weights(), constrained, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("sizes", [[64, 6], [1, 68, 1], [10] * 7])
def test_neither_batches_nor_threads_change_a_recipe_or_an_integer_in_torch(sizes):
    model, (x, _) = TorchTwin(draw(4)).eval(), images(4, 70)
    budget = mpq.Budget(average_weight_bits=4)
    recipe = fx.search(model, [x], "generic-po2", budget, activation_bits=8, progress=False)
    again = fx.search(model, x.split(sizes), "generic-po2", budget, activation_bits=8, progress=False)
    assert dict(again.items()) == dict(recipe.items())
    constrained = fx.constrain(model, recipe, [x]).state_dict()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 + threads % 2)
        other = fx.constrain(model, recipe, x.split(sizes)).state_dict()
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(value, other[name]) for name, value in constrained.items())


def test_a_search_inside_a_tape_that_does_not_record_finds_the_bits_of_a_search_outside():
    model, (_, x) = keras_twin(draw(2)), images(2, 70)
    arguments = {"budget": mpq.Budget(average_weight_bits=4), "activation_bits": 8, "progress": False}
    outside = mpq_tfmot.search(model, x, "generic-po2", **arguments)
    with tf.GradientTape() as tape, tape.stop_recording():
        inside = mpq_tfmot.search(model, x, "generic-po2", **arguments)
    assert dict(inside.items()) == dict(outside.items())


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_bias_past_the_accumulator_is_refused_by_name_in_both_frameworks(calibrated):
    steps = draw(2)
    ours, theirs, (x, y) = TorchTwin(steps).eval(), keras_twin(steps), images(2, 70)
    found = fx.search(ours, [x], "generic-po2", weight_bits=4, activation_bits=8, progress=False)
    other = mpq_tfmot.search(theirs, y, "generic-po2", weight_bits=4, activation_bits=8, progress=False)
    fine = mpq.Grid.power_of_two(4, -40)  # steps of the accumulator in which a bias of 0.1 takes 35 bits
    with pytest.raises(GridError, match=r"conv3.*int32"):
        fx.constrain(ours, found.with_grids({"conv3.weight": fine}), [x] if calibrated else None)
    with pytest.raises(GridError, match=r"conv3.*int32"):
        mpq_tfmot.constrain(theirs, other.with_grids({"conv3.weight": fine}), y if calibrated else None)

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.errors import GridError, MPQError
from mpq_plugins.graph.accumulator import snap_bias
from mpq_plugins.grid import Grid
from mpq_plugins.rounding.bias_correction import corrected_bias, quantize_layer
from mpq_plugins.rounding.moments.layer_moments import LayerMoments

MANY = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def layer(seed, groups=1, out=6, inputs=4, positions=60):
    rng = np.random.default_rng(seed)
    columns = np.abs(rng.normal(size=(groups, positions, inputs)) @ rng.normal(size=(groups, inputs, inputs)))
    weight, bias = rng.normal(size=(out, inputs)), rng.normal(size=out)
    outputs = run(columns, weight, bias) + 0.1 * rng.normal(size=(positions, out))
    return columns, weight, bias, outputs


def run(columns, weight, bias):
    rows = weight.reshape(len(columns), -1, weight.shape[1])
    per_group = columns @ rows.transpose(0, 2, 1)
    return per_group.transpose(1, 0, 2).reshape(columns.shape[1], -1) + bias


@MANY
@given(SEEDS, st.sampled_from([1, 2, 6]), st.integers(2, 8))
def test_the_corrected_bias_gives_the_wished_mean_output_in_every_channel(seed, groups, bits):
    columns, weight, _, outputs = layer(seed, groups)
    quantized = Grid.power_of_two(bits, 1).project(weight)
    bias = corrected_bias(quantized, LayerMoments.measure(columns, outputs))
    np.testing.assert_allclose(run(columns, quantized, bias).mean(axis=0), outputs.mean(axis=0), atol=1e-9)


@MANY
@given(SEEDS, st.integers(2, 8))
def test_a_quantized_layer_is_nearer_to_the_wished_outputs_than_a_nearest_rounded_one(seed, bits):
    columns, weight, bias, outputs = layer(seed)
    grid, step = Grid.power_of_two(bits, 1), 2.0**-12
    moments = LayerMoments.measure(columns, outputs)
    ours = quantize_layer(weight, bias, moments, grid, step, damping=0.0)
    nearest = run(columns, grid.project(weight), bias)
    assert np.mean((run(columns, *ours) - outputs) ** 2) <= np.mean((nearest - outputs) ** 2) + 1e-5


@MANY
@given(SEEDS, st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_quantizing_a_layer_twice_changes_nothing_whatever_the_data_say(seed, per_channel, dtype):
    columns, weight, bias, outputs = layer(seed)
    grid = Grid.power_of_two(3, [0, 1, 2, 0, 1, 2], axis=0) if per_channel else Grid.power_of_two(3, 1)
    once = quantize_layer(weight, bias, LayerMoments.measure(columns, outputs), grid, 2.0**-5)
    once = tuple(array.astype(dtype) for array in once)
    other = layer(seed + 1)
    twice = quantize_layer(*once, LayerMoments.measure(other[0], other[3]), grid, 2.0**-5)
    for first, second in zip(once, twice, strict=True):
        np.testing.assert_array_equal(first, second)
    assert grid.holds(twice[0])


@MANY
@given(SEEDS)
def test_a_weight_on_its_grid_stays_while_a_bias_off_its_grid_is_corrected(seed):
    columns, weight, bias, outputs = layer(seed)
    grid, moments = Grid.power_of_two(3, 1), LayerMoments.measure(columns, outputs)
    fixed = grid.project(weight)
    kept, snapped = quantize_layer(fixed, bias + 1 / 3, moments, grid, 2.0**-5)
    np.testing.assert_array_equal(kept, fixed)
    np.testing.assert_allclose(snapped, corrected_bias(fixed, moments), atol=2.0**-5 * grid.steps[0] / 2)


def test_a_bias_snaps_half_to_even_onto_the_step_of_its_channel():
    grid = Grid.power_of_two(3, [0, 2], axis=0)  # steps 0.25 and 1: accumulator steps 0.125 and 0.5
    np.testing.assert_array_equal(snap_bias([0.3, 0.75], 0.5, grid), [0.25, 1.0])
    np.testing.assert_array_equal(snap_bias([0.1875, 0.25], 0.5, grid), [0.25, 0.0])


def test_a_bias_beyond_int32_is_refused_with_its_site_and_numbers():
    grid = Grid.power_of_two(8, 0)
    largest = (2**31 - 1) * 2.0**-7
    assert snap_bias([largest], 1.0, grid)[0] == largest
    with pytest.raises(GridError, match=r"conv1: code 2.147e\+09 .* int32"):
        snap_bias([0.0, -(2**31) * 2.0**-7], 1.0, grid, name="conv1")


def test_a_correction_beyond_what_the_accumulator_holds_stops_at_half_of_it_and_a_bias_of_before_may_be_more():
    grid, step = Grid.power_of_two(8, -30), 2.0**-37
    moments = LayerMoments.measure(np.ones((1, 2, 1)), np.array([[1.0, -1.0], [1.0, -1.0]]))
    _, bias = quantize_layer(np.zeros((2, 1)) + 0.3 * grid.steps[0], np.zeros(2), moments, grid, 1.0)
    np.testing.assert_array_equal(bias, [2**30 * step, -(2**30) * step])
    _, bias = quantize_layer(np.zeros((2, 1)) + 0.3 * grid.steps[0], [2.0**30.5 * step, 0], moments, grid, 1.0)
    np.testing.assert_array_equal(bias, [np.rint(2.0**30.5) * step, -(2**30) * step])


def test_a_bias_of_another_length_is_refused():
    moments = LayerMoments.measure(np.ones((2, 3)), np.ones((2, 2)))
    with pytest.raises(MPQError, match=r"fc: a weight of shape \(2, 3\) and a bias of shape \(3,\)"):
        quantize_layer(np.ones((2, 3)), np.ones(3), moments, Grid.power_of_two(3, 0), 1.0, name="fc")

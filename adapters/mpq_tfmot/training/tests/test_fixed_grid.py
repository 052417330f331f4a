"""A fixed grid rounds and passes gradients alike in one operation of TensorFlow's and written out, as XLA has it."""

import numpy as np
import pytest

from mpq_plugins.graph.output_rounding import OutputRounding
from mpq_plugins.grid import Grid
from mpq_tfmot.keras import tf
from mpq_tfmot.training.fixed_grid import looked_up, on_fixed_grid


def ties_and_neighbours(grid):
    """Codes, the halves between them, and the float32 values next to those, past both ends."""
    halves = (np.arange(2 * grid.low - 3, 2 * grid.high + 4) / 2 * grid.step).astype(np.float32)
    return np.concatenate([halves, np.nextafter(halves, np.float32(9e9)), np.nextafter(halves, np.float32(-9e9))])


def both(x, grid, rule):
    def one(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            low, high = float(grid.low), float(grid.high)
            y = on_fixed_grid(x, np.float32(grid.step), low, high, grid.bits, grid.signed, rule)
        return y, tape.gradient(y, x)

    x = tf.constant(x)
    return one(x), tf.function(one, jit_compile=True)(x)


@pytest.mark.parametrize("rounding", ["half_even", "half_up"])
@pytest.mark.parametrize(("bits", "signed"), [(3, True), (3, False), (8, True)])
def test_ties_round_by_the_rule_and_clipped_values_get_no_gradient(rounding, bits, signed):
    grid = Grid.power_of_two(bits, 1, signed)
    x = ties_and_neighbours(grid)
    scaled = x.astype(np.float64) / grid.step
    codes = np.rint(scaled) if rounding == "half_even" else np.floor(scaled + 0.5)
    inside = (codes >= grid.low) & (codes <= grid.high)
    for y, gradient in both(x, grid, OutputRounding(rounding)):
        np.testing.assert_array_equal(y, np.clip(codes, grid.low, grid.high) * grid.step)
        np.testing.assert_array_equal(gradient, inside.astype(np.float32))


def test_ties_away_from_zero_are_written_out_in_both():
    grid = Grid.power_of_two(4, 0)
    x = ties_and_neighbours(grid)
    scaled = x.astype(np.float64) / grid.step
    codes = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
    for y, _ in both(x, grid, OutputRounding("half_away")):
        np.testing.assert_array_equal(y, np.clip(codes, grid.low, grid.high) * grid.step)


def test_codes_that_the_nodes_own_clamp_leaves_bound_the_values():
    grid = Grid.power_of_two(4, 3)
    x = ties_and_neighbours(grid)
    for y, _ in both(x, grid, OutputRounding(codes=(0, 5))):
        assert (float(tf.reduce_min(y)), float(tf.reduce_max(y))) == (0.0, 5 * grid.step)


def test_a_table_gives_the_code_of_each_code_of_its_input():
    rule = OutputRounding(table=(3, 1, 0, -2), source=(0.5, -2))
    found = looked_up(tf.constant([-1.0, -0.5, 0.0, 0.5]), np.float32(0.25), rule)
    np.testing.assert_array_equal(found, [0.75, 0.25, 0.0, -0.5])

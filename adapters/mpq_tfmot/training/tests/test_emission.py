"""A grid of few bits in the 8-bit FakeQuant ops of LiteRT's converter is the grid itself."""

import numpy as np
import pytest

from mpq_plugins.grid import Grid
from mpq_tfmot.keras import tf
from mpq_tfmot.training.emission import emit_activation, emit_weight

RANDOM = np.random.default_rng(0)
SHAPES = {
    "convolution": ((3, 3, 2, 4), 3),
    "dense": ((5, 4), 1),
    "depthwise": ((3, 3, 4, 1), 2),
    "transposed": ((2, 2, 4, 3), 2),
}


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_weight_lies_on_its_own_steps_whatever_axis_its_channels_are_on(kind, bits):
    shape, axis = SHAPES[kind]
    w = RANDOM.normal(size=shape).astype(np.float32)
    for along in (None, axis):
        steps = 2.0 ** RANDOM.integers(-4, 0, 1 if along is None else shape[axis])
        grid = Grid(bits, tuple(steps), True, False, along)
        given = tf.constant(steps if along is not None else steps[0], tf.float32)
        emitted = emit_weight(tf.constant(w), given, float(grid.low), float(grid.high), along)
        np.testing.assert_array_equal(emitted, grid.project(w))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 5, 8])
def test_an_activation_is_clipped_to_the_codes_of_its_bits(signed, bits):
    grid = Grid.power_of_two(bits, 0, signed)
    step = np.float32(grid.step)
    x = (np.linspace(1.5 * grid.low - 2, 1.5 * grid.high + 2, 997) * step).astype(np.float32)
    emitted = emit_activation(tf.constant(x), step, float(grid.low), float(grid.high), signed, bits < 8)
    np.testing.assert_array_equal(emitted, np.clip(np.floor(x / step + 0.5), grid.low, grid.high) * step)

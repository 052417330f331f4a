"""The parts of a program as the builder collects them: accumulators as wide as they can get, biases that fit."""

import numpy as np
import pytest

from mpq_plugins import Grid
from mpq_plugins.errors import GridError
from mpq_plugins.integers.lowering import ProgramBuilder, check_steps
from mpq_plugins.integers.steps import Clamp, Shift, Significant


def builder(weight, bias, weight_grid, source_grid):
    made = ProgramBuilder("m", "generic-po2", "none", "channels_last")
    made.tensor("x", (len(weight[0]),), source_grid)
    made.weight("w", np.array(weight), weight_grid)
    made.bias("fc", np.array(bias), weight_grid, source_grid)
    return made


def test_a_layer_shifts_by_the_difference_of_the_exponents():
    weight_grid, source = Grid.power_of_two(4, 0), Grid.power_of_two(8, 0, signed=False)
    made = builder([[7, -8]], [0.5], weight_grid, source)
    assert made.arrays["fc.bias"].tolist() == [0.5 * 2**11]
    found, bits = made.layer_stages("w", "fc.bias", "x", Grid.power_of_two(8, 1), "half_even")
    # 2**-3 * 2**-8 onto 2**-6
    assert (found, bits) == ((Shift((5,), "half_even"), Clamp(-128, 127)), 32)


def test_sums_past_24_bits_round_as_float32_does_and_past_int32_are_wide():
    weight_grid, source = Grid.power_of_two(8, 0), Grid.power_of_two(8, 0, signed=False)
    made = builder([[-128] * 600], [0.0], weight_grid, source)
    found, bits = made.layer_stages("w", "fc.bias", "x", Grid.power_of_two(8, 4), "half_even")
    assert (found[0], bits) == (Significant(24), 32)
    made = builder([[-128] * 66000], [0.0], weight_grid, source)
    assert made.layer_stages("w", "fc.bias", "x", Grid.power_of_two(8, 4), "half_even")[1] == 64


def test_channels_that_the_built_in_kernels_round_twice_and_once_go_together():
    weight_grid = Grid.power_of_two(4, [0, 3, 6], axis=0)
    made = builder([[1], [1], [1]], [0.0] * 3, weight_grid, Grid.power_of_two(8, 0))
    found, _ = made.layer_stages("w", "fc.bias", "x", Grid.power_of_two(8, 0), "half_away", "fixed_point")
    # accumulators of 2**-10, 2**-7 and 2**-4 onto 2**-7
    assert found[:2] == (Shift((1, 0, 0), "half_up"), Shift((2, 0, -3), "half_away"))


def test_a_bias_past_int32_is_refused_by_name():
    with pytest.raises(GridError, match="'fc': bias code"):
        builder([[1]], [2.0**10], Grid.power_of_two(8, -8), Grid.power_of_two(8, -8))


def test_steps_too_far_apart_to_add_are_refused_by_name():
    made = ProgramBuilder("m", "generic-po2", "none", "channels_last")
    for name, exponent in (("a", 0), ("b", 37)):
        made.tensor(name, (4,), Grid.power_of_two(8, exponent))
    with pytest.raises(GridError, match=r"'sum' adds 'a' of step 2\^-7 and 'b' of step 2\^30"):
        made.add("sum", ("a", "b"), Grid.power_of_two(8, 37), "half_even")


@pytest.mark.parametrize(("apart", "bits"), [(23, 32), (24, 64), (36, 64)])
def test_sums_of_steps_far_apart_take_as_many_bits_as_they_need(apart, bits):
    made = ProgramBuilder("m", "generic-po2", "none", "channels_last")
    for name, exponent in (("a", 0), ("b", apart)):
        made.tensor(name, (4,), Grid.power_of_two(8, exponent))
    made.tensor("sum", (4,), Grid.power_of_two(8, apart))
    made.add("sum", ("a", "b"), Grid.power_of_two(8, apart), "half_even")
    (step,) = made.steps
    assert step.accumulator_bits == bits


def test_free_steps_are_refused_by_name():
    with pytest.raises(GridError, match=r"1 of 2 sites have steps that are no powers of two \(b\)"):
        check_steps({"a": Grid.power_of_two(8, 0), "b": Grid(8, (0.3,))})

"""Snapped tensors, against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest

from mpq_plugins.rounding.moments.snapping import ACTIVATION_BITS, hardswish, largest_magnitude, snap, snap_weight


def test_snapped_values_are_the_nearest_multiples_of_a_power_of_two():
    x = np.random.default_rng(0).normal(size=500) * 3
    step = Fraction(1, 2**6)  # the power of two above 7.5 is 8, and 9 bits below it lies 1 / 64
    expected = [float(round(Fraction(value) / step) * step) for value in x]
    np.testing.assert_array_equal(snap(x, 7.5, 9), expected)


@pytest.mark.parametrize("divisor", [3, 6, 12, 36, 49, 196])
def test_two_ways_to_divide_snap_to_the_same_value(divisor):
    sums = np.arange(200_000, dtype=np.float64)
    largest = float(sums[-1] / divisor)
    for bits in (8, 12, 16):
        np.testing.assert_array_equal(snap(sums / divisor, largest, bits), snap(sums * (1 / divisor), largest, bits))


@pytest.mark.parametrize("inputs", [1, 9, 576, 5000])
def test_a_product_of_snapped_tensors_is_the_exact_sum_in_every_order(inputs):
    rng = np.random.default_rng(inputs)
    x = rng.normal(size=inputs) * 10.0 ** rng.uniform(-3, 3, inputs)
    x, w = snap(x, largest_magnitude(x), ACTIVATION_BITS), snap_weight(rng.normal(size=(1, inputs)) * 7)[0]
    exact = sum((Fraction(a) * Fraction(b) for a, b in zip(x, w, strict=True)), Fraction(0))
    order = rng.permutation(inputs)
    assert float(np.cumsum(x * w)[-1]) == float(np.cumsum((x * w)[order])[-1]) == float(exact)
    assert Fraction(float(exact)) == exact


def test_each_row_of_a_weight_has_a_step_of_its_own():
    weight = np.array([[1.0, -0.3], [1e-9, 3e-10]])
    np.testing.assert_allclose(snap_weight(weight), weight, rtol=1e-8)


def test_zeros_stay_zeros():
    np.testing.assert_array_equal(snap(np.zeros(3), 0.0, 20), np.zeros(3))
    np.testing.assert_array_equal(snap_weight(np.zeros((2, 3))), np.zeros((2, 3)))


def test_hardswish_is_its_formula():
    np.testing.assert_allclose(hardswish([-3.0, -1.0, 0.0, 3.0]), [0.0, -1 / 3, 0.0, 3.0])

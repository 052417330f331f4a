"""Sums of moments, against LayerMoments.measure, and against themselves in another order."""

import numpy as np
import pytest

from mpq_plugins import Grid
from mpq_plugins.errors import EmptyCalibration
from mpq_plugins.rounding.moments.layer_moments import LayerMoments
from mpq_plugins.rounding.moments.layer_sums import LayerSums

FIELDS = ("gram", "input_mean", "cross", "output_mean")


def case(bits, signed, groups=2, positions=3000):
    rng = np.random.default_rng(bits)
    grid = Grid.power_of_two(bits, 1, signed)
    codes = rng.integers(grid.low, grid.high + 1, (groups, 5, positions)).astype(np.float32)
    return grid, codes, rng.normal(size=(6, positions)) * 100


def summed(grid, codes, y, cuts):
    sums = LayerSums(grid, np.abs(y).max(), y.shape[1])
    for columns, outputs in zip(np.split(codes, cuts, 2), np.split(y, cuts, 1), strict=True):
        sums.update(columns, outputs)
    return sums.moments()


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("signed", [True, False])
def test_the_averages_are_those_of_all_positions(bits, signed):
    grid, codes, y = case(bits, signed)
    expected = LayerMoments.measure(codes.transpose(0, 2, 1) * grid.steps[0], y.T)
    found = summed(grid, codes, y, [700, 701, 2000])
    for field in FIELDS:
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.gram, expected.gram, rtol=1e-12)


@pytest.mark.parametrize("bits", [4, 8])
def test_no_order_and_no_cut_changes_a_bit(bits):
    grid, codes, y = case(bits, signed=True)
    order = np.random.default_rng(0).permutation(y.shape[1])
    one, other = summed(grid, codes, y, [1000]), summed(grid, codes[:, :, order], y[:, order], [3, 5, 2999])
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))


def test_sums_of_nothing_are_refused():
    with pytest.raises(EmptyCalibration):
        LayerSums(Grid.power_of_two(8, 0), 0.0, 0).moments()

"""The thin form of a curvature against the matrix that it stands for."""

import numpy as np
import pytest

from mpq_plugins.grid import Grid
from mpq_plugins.rounding import row_parts, thin
from mpq_plugins.rounding.bias_correction import quantize_layer
from mpq_plugins.rounding.factored import Factored
from mpq_plugins.rounding.levels import Levels
from mpq_plugins.rounding.moments.input_moments import InputMoments
from mpq_plugins.rounding.moments.layer_moments import DAMPING, FewColumns, damped
from mpq_plugins.rounding.moments.layer_sums import LayerSums
from mpq_plugins.rounding.search import search_codes
from mpq_plugins.rounding.thin import Thin

SIZES = [(1, 7, 300, 40), (1, 5, 131, 1), (3, 4, 60, 9)]
"""groups, rows, inputs, positions"""


def layer(groups, rows, inputs, positions, seed=0):
    """Rows [groups, rows, in], and columns [groups, in, positions] that are correlated."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(groups, inputs, positions))
    return rng.normal(size=(groups, rows, inputs)), mixing @ rng.normal(size=(groups, positions, positions))


def both(columns):
    few = FewColumns(columns, np.zeros(columns.shape[:2]))
    return Thin.of(few.damped(DAMPING)), Factored.of(damped(columns @ columns.transpose(0, 2, 1), DAMPING))


@pytest.mark.parametrize("sizes", SIZES)
def test_factor_errors_and_losses_are_those_of_the_matrix(sizes):
    rows, columns = layer(*sizes)
    ours, whole = both(columns)
    np.testing.assert_array_equal(ours.order, whole.order)
    np.testing.assert_allclose(ours.weights, whole.weights, rtol=1e-4)
    differences = ours.ordered(rows).astype(np.float32)
    expected = np.einsum("gri,gij,grj->gr", rows, whole.matrix, rows)
    np.testing.assert_allclose(ours.errors(differences), expected, rtol=1e-4)
    np.testing.assert_allclose(ours.errors_of_rows(rows), expected, rtol=1e-10)
    fisher = np.cov(np.random.default_rng(1).normal(size=(rows.shape[0] * rows.shape[1], 50)))
    assert ours.predicted_loss(rows, fisher) == pytest.approx(whole.predicted_loss(rows, fisher), rel=1e-10)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("sizes", SIZES)
def test_codes_are_those_of_the_matrix(sizes, bits):
    rows, columns = layer(*sizes)
    full = np.full(rows.shape[:2], 1.0)
    levels = Levels(full * 2.0 ** (2 - bits), -full * 2 ** (bits - 1), full * (2 ** (bits - 1) - 1))
    ours, whole = (search_codes(rows, factor, levels, sweeps=2) for factor in both(columns))
    np.testing.assert_array_equal(ours, whole)


def test_few_columns_of_a_stream_make_the_covariance_that_is_summed():
    _, columns = layer(2, 1, 80, 18)
    columns[:, 5] = 3.0
    moments = InputMoments()
    for part in np.split(columns, 3, axis=2):
        moments.update(part)
    few = moments.few_columns()
    found = few.columns @ few.columns.transpose(0, 2, 1)
    np.einsum("gii->gi", found)[...] += few.own
    np.testing.assert_allclose(found, moments.covariance(), atol=1e-5 * np.abs(found).max())
    assert not found[:, 5].any()
    moments.update(columns)
    assert moments.few_columns() is None


@pytest.mark.parametrize("groups", [1, 2])
def test_a_layer_of_few_positions_is_rounded_as_by_all_its_moments(monkeypatch, groups):
    rng = np.random.default_rng(2)
    weight, bias = rng.normal(size=(6, 90)).astype(np.float32), rng.normal(size=6).astype(np.float32)
    codes, wished = rng.integers(0, 255, (groups, 90, 20)).astype(np.float32), 3 * rng.normal(size=(6, 20))
    grid = Grid.power_of_two(3, 1)

    def rounded():
        sums = LayerSums(Grid.power_of_two(8, 4, signed=False), np.abs(wished).max(), 20)
        for part in (slice(0, 13), slice(13, 20)):
            sums.update(codes[:, :, part], wished[:, part])
        return quantize_layer(weight, bias, sums.moments(), grid, 2.0**-4)

    ours = rounded()
    monkeypatch.setattr(row_parts, "ELEMENTS", 2 * 90)  # two rows at a time
    monkeypatch.setattr(row_parts, "LEAST", 1)
    for found, expected in zip(ours, rounded(), strict=True):
        np.testing.assert_array_equal(found, expected)
    monkeypatch.setattr(thin, "FEW", 10**6)
    for found, expected in zip(ours, rounded(), strict=True):
        np.testing.assert_array_equal(found, expected)

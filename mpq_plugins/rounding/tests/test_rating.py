"""Ratings without codes, against the codes of every row searched in full."""

import numpy as np
import pytest

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.rounding.choice import Kind, choose_each
from mpq_plugins.rounding.factored import Factored
from mpq_plugins.rounding.moments.layer_moments import by_group
from mpq_plugins.rounding.rating import rate_each
from mpq_plugins.rounding.tests.test_factored import layer

SIZES = [(1, 12, 140), (3, 4, 20)]


def kinds(weight, per_channel):
    """Steps about one that clips little, in halves and doubles."""
    largest = np.abs(weight).max(axis=1) if per_channel else np.abs(weight).max()
    near = [2.0 ** np.ceil(np.log2(largest / 2 ** (bits - 1))) for bits in (2, 4, 8)]
    return [Kind(bits, [s / 2, s, s * 2], per_channel) for bits, s in zip((2, 4, 8), near, strict=True)]


def in_full(weight, made, offered, fisher, sweeps):
    for grid, values in choose_each(weight, made, offered, fisher.diagonal(), sweeps):
        change = by_group(values - weight, made.shape[0])
        yield grid, made.predicted_loss(change, fisher)


@pytest.mark.parametrize("per_channel", [False, True])
def test_without_descent_a_loss_is_that_of_the_codes_of_feedback(per_channel):
    rows, matrix = layer(1, 12, 140)  # wide enough that no row is better off at its nearest codes
    weight, made = rows[0], Factored.of(matrix)
    gradients = np.random.default_rng(3).normal(size=(len(weight), 5))
    fisher, offered = gradients @ gradients.T, kinds(weight, per_channel)
    expected = list(in_full(weight, made, offered, fisher, sweeps=0))
    for found, (grid, loss) in zip(rate_each(weight, made, offered, fisher, sweeps=0), expected, strict=True):
        assert found.grid == grid
        assert found.loss == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_where_all_rows_are_tried_a_loss_of_rows_alone_is_that_of_the_codes_of_descent(sizes, per_channel):
    rows, matrix = layer(*sizes)
    weight, made = rows.reshape(-1, sizes[2]), Factored.of(matrix)
    fisher, offered = np.diag(np.arange(1.0, 13.0)), kinds(weight, per_channel)
    expected = list(in_full(weight, made, offered, fisher, sweeps=2))
    for found, (grid, loss) in zip(rate_each(weight, made, offered, fisher), expected, strict=True):
        assert found.grid == grid
        assert found.loss == pytest.approx(loss, rel=1e-4)
        assert found.error == pytest.approx(2 * loss, rel=1e-4)


def test_a_layer_in_parts_and_one_without_gradients_are_rated_alike(monkeypatch):
    rows, matrix = layer(1, 12, 140)
    made, offered = Factored.of(matrix), kinds(rows[0], per_channel=True)
    fisher = np.eye(12)
    whole = rate_each(rows[0], made, offered, fisher)
    monkeypatch.setattr("mpq_plugins.rounding.rating.ELEMENTS", 140 * 3 * 5)
    for ours, alone, unknown in zip(
        rate_each(rows[0], made, offered, fisher), whole, rate_each(rows[0], made, offered, None), strict=True
    ):
        assert ours.grid == alone.grid == unknown.grid
        assert ours.loss == pytest.approx(alone.loss, rel=1e-5)
        assert unknown.error == pytest.approx(alone.error, rel=1e-5)
        assert unknown.loss == np.inf


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_no_loss_is_made_of_what_is_no_number(wrong):
    rows, matrix = layer(1, 12, 140)
    made, offered = Factored.of(matrix), kinds(rows[0], per_channel=True)
    with pytest.raises(NonFiniteValues, match="importance"):
        rate_each(rows[0], made, offered, np.diag([wrong] * 12))
    with pytest.raises(NonFiniteValues, match="weight"):
        rate_each(rows[0] * wrong, made, offered, np.eye(12))


def test_weights_of_any_unit_are_rated_alike():
    rows, matrix = layer(1, 12, 140)
    made, fisher = Factored.of(matrix), np.eye(12)
    plain = rate_each(rows[0], made, kinds(rows[0], per_channel=False), fisher)
    for unit in (2.0**-140, 2.0**140):
        scaled = rate_each(rows[0] * unit, made, kinds(rows[0] * unit, per_channel=False), fisher)
        for ours, expected in zip(scaled, plain, strict=True):
            assert ours.grid.steps == (expected.grid.steps[0] * unit,)
            assert ours.loss == pytest.approx(expected.loss * unit**2, rel=1e-6)

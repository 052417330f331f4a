"""The factor of a curvature, against the curvature itself."""

import numpy as np
import pytest

from mpq_plugins.rounding.choice import Kind, choose_each
from mpq_plugins.rounding.factored import Factored
from mpq_plugins.rounding.levels import Levels
from mpq_plugins.rounding.moments.layer_moments import damped
from mpq_plugins.rounding.search import row_error, search_codes

SIZES = [(1, 5, 300), (1, 40, 131), (4, 3, 9)]


def layer(groups, rows, inputs, seed=0):
    """Rows [groups, rows, in] and damped covariances of correlated inputs."""
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(groups, inputs, inputs)) @ rng.normal(size=(groups, inputs, 2 * inputs))
    return rng.normal(size=(groups, rows, inputs)), damped(columns @ columns.transpose(0, 2, 1), 0.01)


@pytest.mark.parametrize("sizes", SIZES)
def test_errors_are_those_of_the_curvature(sizes):
    rows, matrix = layer(*sizes)
    made = Factored.of(matrix)
    found = made.errors(made.ordered(rows).astype(np.float32))
    np.testing.assert_allclose(found, row_error(rows, matrix), rtol=1e-5)


@pytest.mark.parametrize("sizes", SIZES)
def test_solving_gives_back_what_was_multiplied(sizes):
    rows, matrix = layer(*sizes)
    found, _ = Factored.solving(matrix, rows @ matrix)
    np.testing.assert_allclose(found, rows, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sizes", SIZES)
def test_a_row_searched_on_several_grids_at_once_gets_the_codes_of_each_alone(sizes):
    rows, matrix = layer(*sizes)
    made, groups, count = Factored.of(matrix), *sizes[:2]
    alone = []
    for step in (0.25, 0.5):
        shape = (groups, count)
        levels = Levels(np.full(shape, step), np.full(shape, -4.0), np.full(shape, 3.0))
        alone.append((levels, search_codes(rows, made, levels, sweeps=2)))
    both = Levels(*(np.concatenate([getattr(lv, name) for lv, _ in alone], 1) for name in ("step", "low", "high")))
    found = search_codes(rows, made, both, sweeps=2, of=np.tile(np.arange(count), 2))
    np.testing.assert_array_equal(found, np.concatenate([codes for _, codes in alone], 1))


@pytest.mark.parametrize("per_channel", [False, True])
def test_kinds_chosen_together_get_the_grids_and_values_of_each_alone(per_channel):
    rows, matrix = layer(4, 3, 9)
    weight, made = rows.reshape(12, 9), Factored.of(matrix)
    kinds = [Kind(bits, [2.0**-bits, 2.0 ** (1 - bits), 2.0 ** (2 - bits)], per_channel) for bits in (2, 4, 8)]
    together = list(choose_each(weight, made, kinds))
    for kind, (grid, values) in zip(kinds, together, strict=True):
        ((own, expected),) = choose_each(weight, made, [kind])
        assert own == grid
        np.testing.assert_array_equal(expected, values)

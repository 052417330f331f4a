"""The products of gradients that a Fisher matrix is summed from."""

import numpy as np
import pytest

from mpq_plugins.search.gradient_products import add_products, energy, products

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_products_of_outputs_of_one_group_are_added_each_for_the_positions_it_stands_for(groups):
    total, rows = np.ones((6, 6)), RNG.normal(size=(6, 5000)).astype(np.float32)
    add_products(total, products(rows, groups, 4.0))
    same = np.kron(np.eye(groups), np.ones((6 // groups,) * 2))
    expected = 1 + 4 * same * (rows.astype(np.float64) @ rows.T.astype(np.float64))
    np.testing.assert_allclose(total, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("shape", [(3,), (7, 4096), (2, 3, 1001)])
def test_the_energy_is_the_sum_of_squares(shape):
    gradient = RNG.normal(size=shape).astype(np.float32)
    assert energy(gradient) == pytest.approx(float(np.sum(gradient.astype(np.float64) ** 2)), rel=1e-6)

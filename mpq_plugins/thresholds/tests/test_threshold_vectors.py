"""Published numbers: the test vectors of the authors of "A Closer Look at Hardware-Friendly Weight
Quantization" (2210.03671), narrow grids of 4 bits, exponents of the STEP; and its Gaussian table.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from mpq_plugins.thresholds.search import error_table, search_threshold

X = np.array([[6.0, 5, 1], [8, 3, -8]])
Y = np.array([[6.6, 5, 1], [8.5, 3, -8]])


def squared_error(x, step_exponents, axis=None, weights=None):
    """Sum of squared errors at one step exponent (per channel: one for each)."""
    shifted = [e + 3 for e in step_exponents]
    table = error_table(x, [4], sorted(set(shifted)), axis=axis, narrow=True, weights=weights)
    rows = [table.exponents.index(e) for e in shifted]
    count = np.ones_like(x) if weights is None else np.broadcast_to(weights, np.shape(x))
    if axis is None:
        return table.error[0, rows[0]] * count.sum()
    return table.error[0, rows, range(len(rows))] * np.moveaxis(count, axis, 0).sum(axis=1)


def test_squared_errors_of_the_official_vectors():
    assert squared_error(X, [0]) == pytest.approx(2)
    assert squared_error(X, [1]) == pytest.approx(3)
    np.testing.assert_allclose(squared_error(X, [0, 0, 0], axis=1), [1, 0, 1])
    np.testing.assert_allclose(squared_error(X, [1, 1, 1], axis=1), [0, 2, 1])
    w = np.array([1.2, 0.9, 1, 1.6, 0.3, 1])
    assert squared_error(w, [0]) == pytest.approx(0.30)
    assert squared_error(w, [0], weights=np.arange(1.1, 1.65, 0.1)) == pytest.approx(0.415)
    stuck = np.array([-0.17, 2.58, -8.75, -3.56, 1.56, -0.15, 2.15, -0.66, 0.49])
    assert squared_error(stuck, [0]) == pytest.approx(4.0557, abs=1e-4)
    assert squared_error(stuck, [1]) == pytest.approx(2.0357, abs=1e-4)


def lower_msqe(x, e, weights=None):
    """Round real step exponents to the neighbour of lower squared error, ties up."""
    down, up = np.floor(e).astype(int), np.ceil(e).astype(int)
    axis = 1 if len(e) > 1 else None
    errors = [squared_error(x, side, axis, weights) for side in (down, up)]
    return np.where(errors[0] < errors[1], down, up).tolist()


@pytest.mark.parametrize(
    ("x", "scale", "weights", "expected"),
    [
        (X, [1.5], None, [0]),
        (X, [1.5, 1.5, 1.5], None, [1, 0, 1]),
        (X, [2.1, 0.51, 0.251], None, [1, 0, -1]),
        (Y, [1.1, 0.9, 0.9], None, [1, 0, 0]),
        (Y, [1.1, 0.9, 0.9], np.array([[1.0, 1, 1], [0, 1, 0]]), [0, 0, 0]),
        (Y, [1.1, 0.9, 0.9], np.array([[2.0, 2, 2], [0, 2, 0]]), [0, 0, 0]),
    ],
)
def test_rounding_to_lower_msqe_reads_off_the_table(x, scale, weights, expected):
    assert lower_msqe(x, np.log2(scale), weights) == expected


@pytest.mark.parametrize(
    ("x", "axis", "official"),
    [
        (X, None, [1.0]),
        (X, 1, [2.0, 1.0, 2.0]),
        (np.array([[6, 5, 1], [5, 3, -8.5]]), 1, [1.0, 1.0, 2.0]),
        (np.array([-0.17, 2.58, -8.75, -3.56, 1.56, -0.15, 2.15, -0.66, 0.49]), None, [2.0]),
    ],
)
def test_search_is_as_good_as_the_official_scales(x, axis, official):
    found = search_threshold(x, 4, axis=axis, narrow=True)
    steps = [int(np.log2(s)) for s in official]
    best = [e - 3 for e in found.exponents]
    np.testing.assert_allclose(squared_error(x, best, axis), squared_error(x, steps, axis))
    # of thresholds that tie the smallest: the official third channel of X has 1, 2, 4 and 8 to choose from
    assert all(ours <= theirs for ours, theirs in zip(best, steps, strict=True))


@pytest.mark.parametrize(
    ("b", "step_exponent", "mse"),
    [
        (2, 0, 2.088e-1),
        (3, -1, 6.380e-2),
        (4, -1, 2.088e-2),
        (5, -2, 5.227e-3),
        (6, -3, 1.313e-3),
        (8, -5, 8.851e-5),
    ],
)
def test_gaussian_sanity_table(b, step_exponent, mse):
    x = np.random.default_rng(6).standard_normal(400_000)
    grid = search_threshold(x, b, narrow=True)
    assert grid.exponent == step_exponent + b - 1
    squares = (x - grid.project(x)) ** 2
    sampling = squares.std() / math.sqrt(x.size)
    error = error_table(x, [b], [grid.exponent], narrow=True).best_error(b)
    assert error == pytest.approx(mse, abs=4 * sampling + mse * 5e-4)

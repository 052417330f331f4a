"""Covariances about a pivot, against numpy.cov in float64."""

import numpy as np
import pytest

from mpq_plugins.errors import EmptyCalibration
from mpq_plugins.rounding.factored import Factored
from mpq_plugins.rounding.levels import Levels
from mpq_plugins.rounding.moments.input_moments import NOISE, InputMoments
from mpq_plugins.rounding.moments.layer_moments import damped
from mpq_plugins.rounding.search import search_codes


def covariance(*parts):
    moments = InputMoments()
    for part in parts:
        moments.update(np.asarray(part, dtype=np.float32)[None])
    return moments.covariance()[0]


def correlated(seed, inputs=32, positions=600):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(inputs, inputs // 2)) @ rng.normal(size=(inputs // 2, positions)) / inputs**0.5


@pytest.mark.parametrize("offset", [0.0, 1e2, 1e4, 1e5])
def test_an_offset_changes_the_covariance_by_the_rounding_of_the_values_alone(offset):
    x = (correlated(0) + offset).astype(np.float32)
    expected = np.cov(x.astype(np.float64), bias=True)
    found = covariance(x[:, :100], x[:, 100:])
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("scale", [1e-25, 1e-15, 1.0, 1e15, 1e25])
def test_values_whose_squares_leave_float32_have_the_covariance_of_their_unit(scale):
    x = (correlated(1) * scale).astype(np.float32).astype(np.float64)
    expected = np.cov(x / scale, bias=True)
    np.testing.assert_allclose(covariance(x) / scale**2, expected, atol=2e-6 * np.abs(expected).max())


def test_a_pivot_far_off_costs_no_more_than_the_noise_that_the_ridge_covers():
    x = np.concatenate([np.full((32, 100), 50.0), correlated(2)], 1).astype(np.float32)
    expected = np.cov(x.astype(np.float64), bias=True)
    about_pivot = np.mean((x - 50.0) ** 2, axis=1).sum()
    error = np.linalg.norm(covariance(x[:, :100], x[:, 100:]) - expected, 2)
    assert error <= NOISE * about_pivot


def test_an_input_that_varies_by_its_own_rounding_is_constant():
    x = correlated(3)
    x[4] = 3.3 * (1 + 1e-7 * np.random.default_rng(0).normal(size=x.shape[1]))
    x[9] = 1e5
    found = covariance(x)
    for constant in (4, 9):
        assert not found[constant].any()
        assert not found[:, constant].any()
    others = np.delete(np.arange(32), [4, 9])
    expected = np.cov(np.float32(x).astype(np.float64), bias=True)
    np.testing.assert_allclose(found[np.ix_(others, others)], expected[np.ix_(others, others)], atol=1e-5)


@pytest.mark.parametrize("positions", [1, 2, 3])
def test_fewer_positions_than_inputs_give_a_matrix_that_rounding_can_use(positions):
    x = correlated(4, positions=positions) + 1e5
    curvature = damped(covariance(x)[None], 0.01)
    weight = np.random.default_rng(0).normal(size=(1, 3, 32))
    levels = Levels(np.full((1, 3), 0.25), np.full((1, 3), -8.0), np.full((1, 3), 7.0))
    codes = search_codes(weight, Factored.of(curvature), levels, sweeps=2)
    nearest = levels.nearest(weight.transpose(2, 0, 1)).transpose(1, 2, 0)

    def error(found):
        difference = found * 0.25 - weight
        return np.einsum("gri,gij,grj->r", difference, curvature, difference)

    assert np.all(error(codes) <= error(nearest) + 1e-12)


def test_moments_of_nothing_are_refused():
    with pytest.raises(EmptyCalibration):
        InputMoments().covariance()

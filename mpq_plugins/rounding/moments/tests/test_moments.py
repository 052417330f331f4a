import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.errors import EmptyCalibration, MPQError, NonFiniteValues
from mpq_plugins.rounding.moments.layer_moments import DAMPING, LayerMoments, damped

MANY = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def solved(moments, weight, damping):
    """The weight that the regression finds, [out, in], and the curvature about it."""
    curvature, wished = moments.regression(weight, damping)
    found = np.linalg.solve(curvature, wished.transpose(0, 2, 1)).transpose(0, 2, 1)
    return found.reshape(weight.shape), curvature


def samples(seed, groups=1, positions=50, inputs=4, out=6):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(groups, positions, inputs)) + rng.normal(size=(groups, 1, inputs))
    weight = rng.normal(size=(out, inputs))
    per_group = columns @ weight.reshape(groups, -1, inputs).transpose(0, 2, 1)
    clean = per_group.transpose(1, 0, 2).reshape(positions, out)
    return columns, weight, clean, clean + rng.normal(size=(positions, out))


@MANY
@given(SEEDS)
def test_without_damping_the_target_is_the_least_squares_fit_with_intercept(seed):
    columns, weight, _, outputs = samples(seed)
    target, _ = solved(LayerMoments.measure(columns, outputs), weight, 0)
    design = np.hstack([columns[0], np.ones((len(outputs), 1))])
    expected = np.linalg.lstsq(design, outputs, rcond=None)[0][:-1].T
    np.testing.assert_allclose(target, expected, rtol=1e-7, atol=1e-9)


@MANY
@given(SEEDS, st.sampled_from([0.01, 0.3, 5.0]), st.sampled_from([1, 2, 3]))
def test_the_objective_of_any_weight_is_that_of_the_target_plus_the_quadratic_form(seed, damping, groups):
    columns, weight, _, outputs = samples(seed, groups)
    moments = LayerMoments.measure(columns, outputs)
    target, curvature = solved(moments, weight, damping)
    ridges = damping * np.array([np.var(c, axis=0).mean() for c in columns])

    def objective(candidate):
        rows = candidate.reshape(groups, -1, 4)
        given_outputs = (columns @ rows.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(len(outputs), -1)
        error = outputs - given_outputs
        kept = np.sum((rows - weight.reshape(rows.shape)) ** 2, axis=(1, 2))
        return np.var(error, axis=0).sum() + np.sum(ridges * kept)

    other = target + np.random.default_rng(seed).normal(size=target.shape)
    move = (other - target).reshape(groups, -1, 4)
    rise = np.einsum("gri,gij,grj->", move, curvature, move)
    np.testing.assert_allclose(objective(other) - objective(target), rise, rtol=1e-7)


@MANY
@given(SEEDS, st.sampled_from([1, 3]))
def test_a_float_layer_on_its_own_input_is_its_own_target(seed, groups):
    columns, weight, clean, _ = samples(seed, groups)
    bias = np.arange(6.0)
    measured = LayerMoments.measure(columns, clean + bias)
    known = LayerMoments.of_float_layer(weight, bias, measured.gram, measured.input_mean)
    for name in ("cross", "output_mean", "covariance", "cross_covariance"):
        np.testing.assert_allclose(getattr(known, name), getattr(measured, name), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(solved(known, weight, 0.01)[0], weight, rtol=1e-8, atol=1e-9)


def test_covariance_is_numpys():
    columns, _, _, outputs = samples(3)
    expected = np.cov(columns[0].T, bias=True)
    np.testing.assert_allclose(LayerMoments.measure(columns, outputs).covariance[0], expected, rtol=1e-9)


def test_inputs_that_never_vary_leave_the_weight_where_it_is():
    moments = LayerMoments.measure(np.full((5, 2), 3.0), np.arange(5.0)[:, None])
    np.testing.assert_array_equal(solved(moments, np.array([[0.3, -0.7]]), DAMPING)[0], [[0.3, -0.7]])


def test_damping_is_a_fraction_of_the_mean_diagonal_of_each_group():
    both = damped(np.stack([np.diag([1.0, 3.0]), np.zeros((2, 2))]), 0.5)
    np.testing.assert_array_equal(both, [[[2, 0], [0, 4]], [[1, 0], [0, 1]]])


def test_bad_moments_are_named():
    with pytest.raises(MPQError, match=r"\(1, 2, 2\), \(1, 3\)"):
        LayerMoments(np.eye(2), np.zeros(3), np.zeros((1, 2)), np.zeros(1))
    with pytest.raises(NonFiniteValues, match="cross"):
        LayerMoments(np.eye(2), np.zeros(2), np.full((1, 2), np.nan), np.zeros(1))
    with pytest.raises(EmptyCalibration):
        LayerMoments.measure(np.zeros((0, 2)), np.zeros((0, 1)))
    with pytest.raises(MPQError, match="2 equal groups"):
        LayerMoments.of_float_layer(np.zeros((3, 2)), np.zeros(3), np.zeros((2, 2, 2)), np.zeros((2, 2)))

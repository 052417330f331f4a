"""Loss terms against hand-worked numbers and brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.errors import MPQError
from mpq_plugins.training.regularizers import bin_regularization, distillation, entropy_scale, mixed_distillation


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=40), st.sampled_from([(-2, 1), (-4, 3), (0, 3), (-1, 1)]))
def test_bins_add_squared_distance_of_the_mean_and_variance(values, codes):
    x, step = np.array(values), 0.5
    assigned = np.clip(np.rint(x / step), *codes)
    expected = sum((x[assigned == c].mean() - c * step) ** 2 + x[assigned == c].var() for c in np.unique(assigned))
    assert bin_regularization(NUMPY, x, step, *codes) == pytest.approx(expected, abs=1e-9)


def test_weights_on_their_levels_have_no_bin_error():
    assert bin_regularization(NUMPY, np.array([-1.0, 0.0, 0.5, 0.5]), 0.5, -2, 1) == 0


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_entropy_scale_is_that_of_n2uq(bits):
    x = np.random.default_rng(0).laplace(size=1000)
    scale = entropy_scale(NUMPY, x, float(bits))
    assert scale == pytest.approx(2 ** (bits - 1) / (2**bits - 1) * x.size / np.abs(x).sum())
    assert np.isfinite(entropy_scale(NUMPY, np.zeros(3), float(bits)))


def test_the_soft_loss_is_least_at_the_teachers_own_logits_and_then_its_entropy():
    teacher = np.random.default_rng(1).standard_normal((5, 4))
    p = NUMPY.softmax(teacher)
    entropy = -(p * np.log(p)).sum(axis=1).mean()
    assert distillation(NUMPY, teacher, teacher) == pytest.approx(entropy)
    assert distillation(NUMPY, teacher + 7.0, teacher) == pytest.approx(entropy)
    assert distillation(NUMPY, teacher * 2, teacher) > entropy


def test_large_logits_stay_finite():
    logits = np.array([[1e4, -1e4, 0.0]])
    assert np.isfinite(distillation(NUMPY, logits, -logits))


def test_the_mixed_loss_weighs_soft_and_hard_labels():
    logits, teacher = np.zeros((2, 3)), np.ones((2, 3))
    soft = np.log(3)
    assert mixed_distillation(NUMPY, logits, teacher, 5.0, 0.9, 4.0) == pytest.approx(0.9 * 16 * soft + 0.5)
    assert mixed_distillation(NUMPY, logits, teacher, 5.0, 0.0, 4.0) == 5.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distillation(NUMPY, np.zeros((2, 3)), np.zeros((2, 4))), r"teacher.*\(2, 4\).*student's \(2, 3\)"),
        (lambda: distillation(NUMPY, np.zeros((2, 3)), np.zeros((2, 3)), 0.0), "temperature"),
        (lambda: mixed_distillation(NUMPY, np.zeros((2, 3)), np.zeros((2, 3)), 0.0, 1.5), "weight"),
    ],
)
def test_a_teacher_or_weight_that_does_not_fit_is_refused(call, message):
    with pytest.raises(MPQError, match=message):
        call()

"""Directions of the Fisher matrix: the same for a sample wherever it stands in a batch, and for logits in any unit."""

import numpy as np
import pytest

from mpq_plugins.errors import ModelError
from mpq_plugins.sensitivity.fisher import LARGEST_SPREAD, FisherDirections, check_reached


def drawn(output, sizes, seed=0, turn=0):
    directions, first, parts = FisherDirections(seed), 0, []
    for part in np.split(output, np.cumsum(sizes)):
        parts.append(directions.draw(part, turn=turn, first=first))
        first += len(part)
    return np.concatenate(parts)


@pytest.mark.parametrize("shape", [(100, 5), (100, 1), (100, 2, 3, 3)])
def test_a_sample_has_the_same_signs_however_the_set_is_cut(shape):
    output = np.random.default_rng(0).normal(size=shape)
    whole = np.sign(drawn(output, []))
    for sizes in ([64], [7, 33, 20]):
        np.testing.assert_array_equal(np.sign(drawn(output, sizes)), whole)


def test_turns_and_outputs_and_seeds_have_signs_of_their_own():
    output, directions = np.zeros((800, 1)), FisherDirections(3)
    kinds = [directions.draw(output), directions.draw(output, 1), directions.draw(output, 0, 1), drawn(output, [], 4)]
    for i, one in enumerate(kinds):
        for other in kinds[:i]:
            assert abs(np.mean(one == other) - 0.5) < 0.1


def test_several_rows_of_one_sample_belong_together():
    output = np.random.default_rng(0).normal(size=(120, 4))  # 40 samples of 3 rows
    whole = FisherDirections().draw(output, samples=40)
    second = FisherDirections().draw(output[60:], first=20, samples=20)
    np.testing.assert_array_equal(np.sign(second), np.sign(whole[60:]))


def test_logits_that_no_classifier_has_are_measured_in_a_unit_of_their_own():
    logits = np.random.default_rng(0).normal(size=(64, 5))
    large = logits / logits.std(axis=1).mean() * LARGEST_SPREAD
    at_the_limit = FisherDirections().draw(large)
    for unit in (1e2, 1e5):
        np.testing.assert_allclose(FisherDirections().draw(unit * large) * unit, at_the_limit, rtol=1e-6, atol=1e-12)
    assert np.mean(np.abs(at_the_limit).max(axis=1) > 1e-3) > 0.2


def test_ordinary_logits_keep_the_fisher_matrix_of_their_softmax():
    logits = np.random.default_rng(0).normal(size=(1, 3)) * 4
    p = np.exp(logits[0]) / np.exp(logits[0]).sum()
    found = [FisherDirections(seed).draw(logits)[0] for seed in range(4000)]
    np.testing.assert_allclose(np.mean([np.outer(v, v) for v in found], 0), np.diag(p) - np.outer(p, p), atol=0.01)


def test_sites_that_no_gradient_reaches_are_named():
    check_reached({"a": True})
    with pytest.raises(ModelError, match=r"reaches b, c.*detach"):
        check_reached({"a": True, "b": False, "c": False})

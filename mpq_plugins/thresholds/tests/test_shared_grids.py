"""One grid for several activations, against brute force over thresholds and steps."""

import numpy as np
import pytest

from mpq_plugins.errors import EmptyCalibration
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.thresholds.free_steps import search_step
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import search_threshold
from mpq_plugins.thresholds.shared_grids import search_shared

RNG = np.random.default_rng(0)
WIDE = np.maximum(RNG.normal(0, 8, 64_000), 0).astype(np.float32)
AVERAGES = WIDE.reshape(-1, 64).mean(axis=1)


def histogram(x):
    found = Histogram()
    found.update(x)
    return found


def loss(step, importances, high):
    errors = [np.mean((x - np.clip(np.rint(x / step), 0, high) * step) ** 2) for x in (WIDE, AVERAGES)]
    return float(np.dot(errors, importances))


@pytest.mark.parametrize("bits", [3, 5, 8])
@pytest.mark.parametrize("importances", [(1.0, 0.0), (1.0, 1.0), (1.0, 30.0), (1.0, 1000.0), (0.0, 2.0)])
def test_the_shared_threshold_has_the_least_weighted_error_of_all_powers_of_two(importances, bits):
    grid = search_shared([histogram(WIDE), histogram(AVERAGES)], importances, Candidate(bits, False, False))
    losses = {k: loss(2.0 ** (k - bits), importances, 2**bits - 1) for k in range(-6, 8)}
    assert grid == Grid.power_of_two(bits, min(losses, key=losses.get), signed=False)


@pytest.mark.parametrize("importances", [(1.0, 0.0), (1.0, 30.0), (1.0, 1000.0)])
def test_a_shared_free_step_is_as_good_as_any_of_a_fine_scan(importances):
    candidate = Candidate(8, False, False, power_of_two=False)
    grid = search_shared([histogram(WIDE), histogram(AVERAGES)], importances, candidate)
    best = min(loss(step, importances, 255) for step in 2.0 ** np.linspace(-6, -3, 300))
    assert loss(grid.step, importances, 255) <= 1.02 * best


def test_importance_moves_the_threshold_from_the_many_to_the_important():
    pair = [histogram(WIDE), histogram(AVERAGES)]
    thresholds = [search_shared(pair, (1.0, w), Candidate(8, False, False)).threshold for w in (0, 100, 1e6)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] == search_threshold(WIDE, 8, signed=False).threshold
    assert thresholds[-1] == search_threshold(AVERAGES, 8, signed=False).threshold


@pytest.mark.parametrize("power_of_two", [True, False])
def test_without_importance_every_element_counts_alike_and_one_activation_needs_none(power_of_two):
    candidate = Candidate(4, False, False, power_of_two=power_of_two)
    search = search_threshold if power_of_two else search_step
    both = histogram(np.concatenate([WIDE, AVERAGES]))
    assert search_shared([histogram(WIDE), histogram(AVERAGES)], (0.0, 0.0), candidate) == search(both, 4, False)
    assert search_shared([histogram(WIDE)], (7.0,), candidate) == search(histogram(WIDE), 4, False)


def test_an_activation_that_is_always_zero_leaves_the_choice_to_the_others():
    pair = [histogram(WIDE), histogram(np.zeros(10))]
    assert search_shared(pair, (1.0, 50.0), Candidate(8, False, False)) == search_threshold(WIDE, 8, False)


def test_an_activation_that_was_never_seen_is_refused():
    with pytest.raises(EmptyCalibration):
        search_shared([histogram(WIDE), Histogram()], (1.0, 1.0), Candidate(8, False, False))

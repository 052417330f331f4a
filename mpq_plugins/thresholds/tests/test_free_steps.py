"""Free steps: the search against brute force, on arrays, channels, weights and histograms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.errors import EmptyCalibration, ThresholdError
from mpq_plugins.grid import Grid
from mpq_plugins.thresholds.free_steps import search_step, short, squared_error
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import search_threshold

SHAPES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.uniform(-1, 1, n),
    "heavy": lambda rng, n: rng.laplace(size=n) ** 3,
    "rectified": lambda rng, n: np.maximum(rng.normal(size=n), 0),
}


def mean_error(x, step, low, high, weights=None):
    codes = np.clip(np.rint(x / step), low, high)
    return np.average((x - codes * step) ** 2, weights=weights)


def least_of_all(x, bits, signed, weights=None):
    """The least error over 3000 steps, from far too small to twice what clips nothing."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    top = np.abs(x).max() / high
    return min(mean_error(x, step, low, high, weights) for step in top * 2.0 ** np.linspace(-7, 1, 3000))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_step_of_a_fine_scan_beats_the_one_that_is_found_by_two_per_cent(shape, bits, signed):
    x = 0.3 * SHAPES[shape](np.random.default_rng(bits), 1500)
    grid = search_step(x, bits, signed)
    assert grid.signed is signed
    assert mean_error(x, grid.step, grid.low, grid.high) <= 1.02 * least_of_all(x, bits, signed)


def test_channels_are_searched_apart_and_along_any_axis():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 40, 5)) * np.array([1.0, 1e-4, 300.0])[:, None, None]
    grid = search_step(x, 4, axis=0)
    assert grid.axis == 0
    assert grid.steps == tuple(search_step(channel, 4).step for channel in x)
    assert search_step(np.moveaxis(x, 0, 2), 4, axis=2).steps == grid.steps


def test_weights_count_and_their_scale_does_not():
    rng = np.random.default_rng(1)
    x, weights = rng.normal(size=800), rng.uniform(0, 1, 800) ** 6
    grid = search_step(x, 3, weights=weights)
    assert mean_error(x, grid.step, -4, 3, weights) <= 1.02 * least_of_all(x, 3, True, weights)
    assert search_step(x, 3, weights=2.0**70 * weights) == grid
    assert search_step(np.append(x, 1e6), 3, weights=np.append(weights, 0.0)) == grid


def test_a_narrow_grid_leaves_out_the_lowest_code():
    x = np.array([-1.0, -0.9, 0.2])
    assert search_step(x, 2, narrow=True).narrow
    assert search_step(x, 2, narrow=True).low == -1


@given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=30),
    st.integers(2, 8),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_a_free_step_is_no_worse_than_the_power_of_two_and_short(values, bits, signed):
    x = np.array(values)
    free, plain = search_step(x, bits, signed), search_threshold(x, bits, signed)
    assert squared_error(x, free) <= squared_error(x, plain) * (1 + 1e-12)
    assert free.step == short(free.step)
    if free.step >= np.finfo(np.float32).tiny:  # below it float32 has fewer bits than a step has
        codes = np.arange(free.low, free.high + 1)
        assert np.array_equal(codes * free.step, (codes * free.step).astype(np.float32))


@pytest.mark.parametrize("bits", [4, 8])
def test_values_that_fill_a_grid_are_found_to_lie_on_it(bits):
    step = float(short(0.0371))
    x = np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)) * step
    assert search_step(x, bits) == Grid(bits, (step,))


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_histogram_gives_a_step_as_good_as_the_array_does(shape, bits, signed):
    x = SHAPES[shape](np.random.default_rng(5), 20_000).astype(np.float32)
    histogram = Histogram()
    for part in np.split(x, 4):
        histogram.update(part)
    found = search_step(histogram, bits, signed)
    exact = squared_error(x, found)
    assert exact <= 1.01 * squared_error(x, search_step(x, bits, signed))
    assert squared_error(histogram, found) == pytest.approx(exact, rel=0.005)


def test_a_tensor_of_zeros_gets_the_grid_that_the_power_of_two_search_gives_it():
    assert search_step(np.zeros(4), 4) == search_threshold(np.zeros(4), 4)
    zeros = Histogram()
    zeros.update(np.zeros(3))
    assert search_step(zeros, 8).threshold == 1.0
    with_dead_channel = search_step(np.array([[0.0, 0.0], [0.3, 0.2]]), 4, axis=0)
    assert with_dead_channel.steps[0] == search_threshold(np.array([[0.0, 0.0], [0.3, 0.2]]), 4, axis=0).steps[0]


def test_a_histogram_takes_no_axis_and_an_empty_one_is_refused():
    with pytest.raises(ThresholdError, match="neither channels nor weights"):
        search_step(Histogram(), 4, axis=0)
    with pytest.raises(EmptyCalibration, match="no values"):
        squared_error(Histogram(), Grid(4, (0.3,)))

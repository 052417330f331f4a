import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins.errors import GridError, MPQError, NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.rounding.tests.rounded_matrices import choose_exponents, output_error, round_compensated

MANY = settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def layer(seed, out=6, inputs=10, positions=40, groups=1):
    """A weight and the Gram matrices of strongly correlated inputs."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(groups, inputs, inputs)) * np.geomspace(1, 0.05, inputs)
    columns = rng.normal(size=(groups, positions, inputs)) @ mixing
    return rng.normal(size=(out, inputs)), columns.transpose(0, 2, 1) @ columns / positions, columns


def brute_force(row, gram, grid):
    """The least error of one row over all codes."""
    choices = [np.array(codes) for codes in itertools.product(range(grid.low, grid.high + 1), repeat=row.size)]
    differences = np.array(choices) * grid.steps[0] - row
    return np.einsum("ki,ij,kj->k", differences, gram, differences).min()


@MANY
@given(SEEDS, st.integers(2, 8), st.sampled_from([3, 40]), st.sampled_from([0.0, 0.01, 1.0]))
def test_output_error_is_never_above_that_of_nearest_rounding_in_any_channel(seed, bits, positions, damping):
    weight, gram, _ = layer(seed, positions=positions)
    grid = Grid.power_of_two(bits, 1)
    rounded = round_compensated(weight, gram, grid, damping=damping)
    nearest = output_error(grid.project(weight), weight, gram)
    assert np.all(output_error(rounded, weight, gram) <= nearest * (1 + 1e-9) + 1e-12)
    assert grid.holds(rounded)


@MANY
@given(SEEDS)
def test_output_error_is_the_squared_difference_of_the_outputs(seed):
    weight, gram, columns = layer(seed)
    rounded = Grid.power_of_two(3, 1).project(weight)
    measured = np.mean((columns[0] @ (rounded - weight).T) ** 2, axis=0)
    np.testing.assert_allclose(output_error(rounded, weight, gram), measured, rtol=1e-9)


def test_error_is_half_of_nearest_rounding_on_correlated_inputs():
    ratios = []
    for seed in range(30):
        weight, gram, _ = layer(seed, out=16, inputs=24, positions=200)
        grid = Grid.power_of_two(4, 1)
        ours = output_error(round_compensated(weight, gram, grid), weight, gram).sum()
        ratios.append(ours / output_error(grid.project(weight), weight, gram).sum())
    assert np.median(ratios) < 0.5


def test_tiny_problems_are_never_below_brute_force_and_mostly_equal_to_it():
    grid, hits, total = Grid.power_of_two(2, 1), 0, 0
    for seed in range(40):
        weight, gram, _ = layer(seed, out=3, inputs=5)
        ours = output_error(round_compensated(weight, gram, grid), weight, gram)
        best = np.array([brute_force(row, gram[0], grid) for row in weight])
        assert np.all(ours >= best - 1e-12)
        hits += int(np.sum(ours <= best * (1 + 1e-9)))
        total += len(best)
    assert hits / total > 0.5


@MANY
@given(SEEDS, st.integers(0, 4))
def test_every_sweep_of_coordinate_descent_lowers_the_error_or_keeps_it(seed, sweeps):
    weight, gram, _ = layer(seed)
    grid = Grid.power_of_two(3, 1)
    fewer, more = (round_compensated(weight, gram, grid, sweeps=s) for s in (sweeps, sweeps + 1))
    assert np.all(output_error(more, weight, gram) <= output_error(fewer, weight, gram) * (1 + 1e-9) + 1e-12)


@MANY
@given(SEEDS, st.integers(1, 8))
def test_a_weight_on_the_grid_stays_where_it_is(seed, bits):
    weight, gram, _ = layer(seed)
    grid = Grid.power_of_two(bits, 0)
    once = round_compensated(weight, gram, grid)
    np.testing.assert_array_equal(round_compensated(once, gram, grid), once)
    single = once.astype(np.float32)
    np.testing.assert_array_equal(round_compensated(single, gram, grid), single)


@MANY
@given(SEEDS)
def test_per_channel_is_per_tensor_applied_to_every_row(seed):
    weight, gram, _ = layer(seed, out=4)
    exponents = [-1, 0, 1, 2]
    together = round_compensated(weight, gram, Grid.power_of_two(3, exponents, axis=0))
    for row, exponent, values in zip(weight, exponents, together, strict=True):
        alone = round_compensated(row[None], gram, Grid.power_of_two(3, exponent))
        np.testing.assert_array_equal(alone[0], values)
    of_transposed = round_compensated(weight, gram, Grid.power_of_two(3, exponents, axis=1))
    np.testing.assert_array_equal(of_transposed, together)


@MANY
@given(SEEDS, st.sampled_from([2, 3, 6]))
def test_groups_are_separate_layers(seed, groups):
    weight, gram, _ = layer(seed, out=6, inputs=5, groups=groups)
    grid = Grid.power_of_two(3, 1)
    together = round_compensated(weight, gram, grid)
    rows = 6 // groups
    for g in range(groups):
        part = slice(g * rows, (g + 1) * rows)
        np.testing.assert_array_equal(round_compensated(weight[part], gram[g], grid), together[part])


@MANY
@given(SEEDS)
def test_the_order_of_the_inputs_does_not_matter(seed):
    weight, gram, _ = layer(seed)
    grid = Grid.power_of_two(3, 1)
    order = np.random.default_rng(seed).permutation(weight.shape[1])
    permuted = round_compensated(weight[:, order], gram[0][np.ix_(order, order)], grid)
    np.testing.assert_array_equal(permuted, round_compensated(weight, gram, grid)[:, order])


@MANY
@given(SEEDS, st.integers(-12, 12), st.integers(-12, 12))
def test_scaling_by_powers_of_two_keeps_the_codes(seed, weight_shift, gram_shift):
    weight, gram, _ = layer(seed)
    codes = round_compensated(weight, gram, Grid.power_of_two(4, 1)) * 2.0**weight_shift
    grid = Grid.power_of_two(4, 1 + weight_shift)
    scaled = round_compensated(weight * 2.0**weight_shift, gram * 2.0**gram_shift, grid)
    np.testing.assert_array_equal(scaled, codes)


def test_uncorrelated_inputs_get_nearest_rounding():
    weight, _, _ = layer(0)
    grid = Grid.power_of_two(3, 1)
    np.testing.assert_array_equal(round_compensated(weight, np.diag(np.arange(1.0, 11.0)), grid), grid.project(weight))


def test_inputs_that_are_always_zero_get_nearest_rounding_and_disturb_nothing():
    weight, gram, _ = layer(1)
    dead = [2, 7]
    gram[:, dead, :] = 0
    gram[:, :, dead] = 0
    grid = Grid.power_of_two(3, 1)
    rounded = round_compensated(weight, gram, grid)
    np.testing.assert_array_equal(rounded[:, dead], grid.project(weight)[:, dead])
    live = [i for i in range(10) if i not in dead]
    alone = round_compensated(weight[:, live], gram[0][np.ix_(live, live)], grid)
    np.testing.assert_array_equal(rounded[:, live], alone)


def test_an_all_zero_curvature_and_an_all_zero_weight_are_legal():
    grid = Grid.power_of_two(3, 0)
    weight = np.array([[0.3, -0.6, 0.9]])
    np.testing.assert_array_equal(round_compensated(weight, np.zeros((3, 3)), grid), grid.project(weight))
    np.testing.assert_array_equal(round_compensated(np.zeros((2, 3)), np.eye(3), grid), np.zeros((2, 3)))


def test_a_covariance_with_an_eigenvalue_just_below_zero_is_legal():
    weight, gram, _ = layer(2, positions=3)
    noisy = gram.astype(np.float32) - np.float32(1e-6) * np.eye(10, dtype=np.float32)
    rounded = round_compensated(weight, noisy, Grid.power_of_two(4, 1))
    assert Grid.power_of_two(4, 1).holds(rounded)


def textbook(weight, grams, step, bits):
    """Feedback as the papers write it, in float64: the errors [out] of the codes that it finds."""
    errors, high = [], 2 ** (bits - 1) - 1
    for row, gram in zip(weight, np.repeat(grams, len(weight) // len(grams), axis=0), strict=True):
        order = np.argsort(-np.diag(gram), kind="stable")
        matrix = gram[np.ix_(order, order)] + 1e-10 * np.diag(gram).mean() * np.eye(len(row))
        upper = np.linalg.cholesky(matrix[::-1, ::-1])[::-1, ::-1]
        difference = np.zeros(len(row))
        for j, value in enumerate(row[order]):
            moved = value - difference[:j] @ upper[:j, j] / upper[j, j]
            difference[j] = np.clip(np.rint(moved / step), -high - 1, high) * step - value
        errors.append(difference @ matrix @ difference)
    return np.array(errors)


@MANY
@given(SEEDS, st.integers(2, 6), st.sampled_from([1, 2]))
def test_a_channels_exponent_is_the_best_after_feedback(seed, bits, groups):
    weight, gram, _ = layer(seed, groups=groups)
    exponents = [-1, 0, 1, 2]
    grid, values = choose_exponents(weight, gram, bits, exponents, per_channel=True)
    errors = np.array([textbook(weight, gram, 2.0 ** (e - bits + 1), bits) for e in exponents])
    chosen = errors[np.searchsorted(exponents, grid.exponents), np.arange(len(weight))]
    np.testing.assert_allclose(chosen, errors.min(axis=0), rtol=1e-5)
    assert grid.axis == 0
    assert grid.holds(values)
    np.testing.assert_array_equal(values, round_compensated(weight, gram, grid))


@MANY
@given(SEEDS, st.integers(2, 6), st.sampled_from([1, 2]))
def test_a_tensors_exponent_is_the_best_of_rounding_under_each_that_feedback_leaves_close(seed, bits, groups):
    weight, gram, _ = layer(seed, groups=groups)
    exponents = [-1, 0, 1, 2]
    grid, values = choose_exponents(weight, gram, bits, exponents)
    after_feedback = np.array([textbook(weight, gram, 2.0 ** (e - bits + 1), bits).sum() for e in exponents])
    close = [e for e, error in zip(exponents, after_feedback, strict=True) if error <= 1.25 * after_feedback.min()]
    rounded = [round_compensated(weight, gram, Grid.power_of_two(bits, e)) for e in close]
    best = min(output_error(found, weight, gram).sum() for found in rounded)
    np.testing.assert_allclose(output_error(values, weight, gram).sum(), best, rtol=1e-9)
    assert grid.axis is None
    assert grid.holds(values)


def test_row_weights_decide_which_channels_the_common_grid_serves():
    weight, gram = np.array([[0.1, 0.1], [6.0, 6.0]]), np.eye(2)
    small, _ = choose_exponents(weight, gram, 3, [-3, 3], row_weights=[1.0, 0.0])
    large, _ = choose_exponents(weight, gram, 3, [-3, 3], row_weights=[0.0, 1.0])
    assert (small.exponent, large.exponent) == (-3, 3)


def test_candidates_may_differ_by_channel_only_for_a_per_channel_grid():
    weight, gram = np.array([[0.1, 0.1], [6.0, 6.0]]), np.eye(2)
    grid, _ = choose_exponents(weight, gram, 3, [[-3, 2], [-2, 3]], per_channel=True)
    assert grid.exponents == (-3, 3)
    with pytest.raises(GridError, match="one exponent"):
        choose_exponents(weight, gram, 3, [[-3, 2]])


def test_bad_input_is_named_with_its_numbers():
    weight, gram = np.zeros((2, 3)), np.eye(3)
    with pytest.raises(GridError, match=r"5 channels.*2 output channels"):
        round_compensated(weight + 0.3, gram, Grid.power_of_two(3, [0] * 5, axis=0))
    with pytest.raises(MPQError, match=r"\(2, 3\).*\(1, 4, 4\)"):
        round_compensated(weight, np.eye(4), Grid.power_of_two(3, 0))
    with pytest.raises(MPQError, match="3 equal groups"):
        round_compensated(weight, np.stack([gram] * 3), Grid.power_of_two(3, 0))
    with pytest.raises(NonFiniteValues, match="curvature"):
        round_compensated(weight, gram * np.nan, Grid.power_of_two(3, 0))
    with pytest.raises(MPQError, match="eigenvalue -1"):
        round_compensated(weight + 0.3, -gram, Grid.power_of_two(3, 0))

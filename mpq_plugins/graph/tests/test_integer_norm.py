"""Norms and softmaxes in integers: against the real functions, within 32 bits, and refused where those do not do."""

import math

import numpy as np
import pytest

from mpq_plugins.errors import GridError
from mpq_plugins.graph.integer_norm import norm_of
from mpq_plugins.graph.integer_softmax import softmax_of
from mpq_plugins.grid import Grid
from mpq_plugins.integers.kernels import compute
from mpq_plugins.integers.program import Tensor
from mpq_plugins.integers.steps import Normalize, Softmax

OUT = Grid.power_of_two(8, 2)


def normed(codes, norm):
    """The codes of a norm along the last axis, before they are clipped to anything narrow."""
    constants = (norm.centered, norm.fraction, norm.square_fraction, norm.epsilon, norm.shift, "t", -(2**30), 2**30)
    step = Normalize("y", ("x",), (0,), *constants)
    arrays = {"t": norm.table.astype(np.int32)}
    return compute(step, [codes], Tensor("y", codes.shape[1:], 8, True, 0), arrays, "channels_last")


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("count", [2, 7, 96, 768, 20000])
def test_a_norm_in_integers_is_within_three_quarters_of_a_step_of_the_real_one(count, signed, centered):
    source = Grid.power_of_two(8, 1, signed)
    norm = norm_of("n", count, centered, 1e-5, source, OUT)
    rng = np.random.default_rng(0)
    spread = rng.choice([1, 3, 20, 120], (32, 1))
    codes = np.clip(np.rint(rng.normal(rng.integers(-20, 60, (32, 1)), spread, (32, count))), source.low, source.high)
    codes = codes.astype(np.int32)
    x = codes * source.step
    x = x - x.mean(1, keepdims=True) * centered
    real = x / np.sqrt((x * x).mean(1, keepdims=True) + 1e-5) / OUT.step
    seen = np.abs(real) < 128
    assert np.abs(normed(codes, norm) - real)[seen].max() < 0.75


def test_all_sums_and_products_of_a_norm_fit_32_bits():
    for count in (2, 50, 768, 90000):
        source = Grid.power_of_two(8, 0)
        norm = norm_of("n", count, True, 1e-5, source, OUT)
        extreme = np.where(np.arange(count) < count // 2, 127.0, -128.0) * 2**norm.square_fraction
        extreme -= extreme.mean()
        assert (extreme**2).sum() + count / 4 + norm.epsilon < 2**31
        largest = 255 * 2**norm.fraction
        assert largest * norm.table.max() + 2 ** (norm.shift + 14) < 2**31


def test_a_row_of_equal_codes_is_zero():
    norm = norm_of("n", 8, True, 0.0, Grid.power_of_two(8, 0), OUT)
    assert not normed(np.full((1, 8), 93, np.int32), norm).any()


@pytest.mark.parametrize("bits", [2, 8])
@pytest.mark.parametrize("count", [1, 5, 197, 4000])
def test_a_softmax_in_integers_is_within_0_52_of_a_step_of_the_real_one(count, bits):
    source, grid = Grid.power_of_two(8, 3), Grid.power_of_two(bits, 0, False)
    law = softmax_of("s", count, 0.5, source, grid)
    codes = np.random.default_rng(0).integers(-128, 128, (64, count)).astype(np.int32)
    step = Softmax("y", ("x",), 0, law.steps, "t", 0, 2**20)
    arrays = {"t": law.table.astype(np.int32)}
    got = compute(step, [codes], Tensor("y", (count,), bits, False, 0), arrays, "channels_last")
    powers = np.exp(0.5 * source.step * (codes - codes.max(1, keepdims=True)))
    real = powers / powers.sum(1, keepdims=True) / grid.step
    assert np.abs(got - real).max() < 0.52
    assert law.table.max() * (2 * law.steps + count) < 2**31
    assert law.table.max() * 2 * count < 2**31


def test_what_does_not_fit_32_bits_is_refused_by_site():
    with pytest.raises(GridError, match=r"'n': the squares of 200000 codes .* float"):
        norm_of("n", 200000, True, 1e-5, Grid.power_of_two(8, 0), OUT)
    with pytest.raises(GridError, match=r"'n': a norm of 100 elements on the step .* larger threshold"):
        norm_of("n", 100, True, 1e-5, Grid.power_of_two(8, 0), Grid.power_of_two(8, -20))
    with pytest.raises(GridError, match=r"'s': a softmax of 10000000 elements"):
        softmax_of("s", 10**7, 1.0, Grid.power_of_two(8, 0), Grid.power_of_two(8, 0, False))
    assert math.log2(softmax_of("s", 3, 1.0, OUT, Grid.power_of_two(8, 0, False)).table[0]) == 20

"""Grid: codes, values, nesting and symmetry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpq_plugins.errors import GridError, NonFiniteValues
from mpq_plugins.grid import Grid

kinds = st.sampled_from([(True, False), (True, True), (False, False)])
all_bits = st.integers(2, 16)
exponents = st.integers(-20, 20)
tensors = hnp.arrays(
    np.float64,
    hnp.array_shapes(max_dims=3, max_side=6),
    elements=st.one_of(st.floats(-8, 8), st.integers(-999, 999).map(lambda k: k / 64)),
)


def nearest(x: float, step: float, low: int, high: int) -> int:
    """Code by the definition: round half to even, then clip."""
    return min(max(round(x / step), low), high)


@settings(max_examples=150, deadline=None)
@given(x=tensors, b=all_bits, e=exponents, kind=kinds)
def test_codes_are_the_nearest_ones_with_ties_to_even(x, b, e, kind):
    grid = Grid.power_of_two(b, e, *kind)
    codes = grid.quantize(x)
    assert codes.shape == x.shape
    expected = [nearest(v, grid.steps[0], grid.low, grid.high) for v in x.ravel().tolist()]
    assert codes.ravel().tolist() == expected


@settings(max_examples=100, deadline=None)
@given(x=tensors, b=all_bits, e=exponents, kind=kinds)
def test_projecting_twice_is_projecting_once(x, b, e, kind):
    grid = Grid.power_of_two(b, e, *kind)
    once = grid.project(x)
    np.testing.assert_array_equal(grid.project(once), once)
    np.testing.assert_array_equal(grid.dequantize(grid.quantize(x)), once)
    np.testing.assert_array_equal(grid.quantize(once), grid.quantize(x))


@settings(max_examples=100, deadline=None)
@given(x=tensors, b=all_bits, e=exponents)
def test_narrow_grids_are_odd(x, b, e):
    grid = Grid.power_of_two(b, e, narrow=True)
    np.testing.assert_array_equal(grid.project(-x), -grid.project(x))


@settings(max_examples=100, deadline=None)
@given(x=tensors, b=all_bits, e=exponents, k=exponents, kind=kinds)
def test_scaling_by_a_power_of_two_keeps_the_codes(x, b, e, k, kind):
    np.testing.assert_array_equal(
        Grid.power_of_two(b, e + k, *kind).quantize(x * 2.0**k), Grid.power_of_two(b, e, *kind).quantize(x)
    )


@settings(max_examples=100, deadline=None)
@given(few=st.integers(2, 15), more=st.integers(1, 14), e=exponents, kind=kinds)
def test_grids_of_one_threshold_nest(few, more, e, kind):
    many = min(few + more, 16)
    coarse, fine = Grid.power_of_two(few, e, *kind), Grid.power_of_two(many, e, *kind)
    assert fine.contains(coarse)
    assert fine.contains(coarse) == (set(values(coarse)) <= set(values(fine)))


@settings(max_examples=100, deadline=None)
@given(b=st.integers(2, 6), c=st.integers(2, 6), e=st.integers(-3, 3), one=kinds, other=kinds)
def test_contains_means_that_every_value_is_a_value(b, c, e, one, other):
    big, small = Grid.power_of_two(b, e, *one), Grid.power_of_two(c, 0, *other)
    assert big.contains(small) == (set(values(small)) <= set(values(big)))


def values(grid: Grid) -> list[float]:
    return grid.dequantize(np.arange(grid.low, grid.high + 1)).tolist()


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "low", "high"),
    [
        (1, True, False, -1, 0),
        (1, False, False, 0, 1),
        (2, True, False, -2, 1),
        (2, True, True, -1, 1),
        (4, True, True, -7, 7),
        (8, True, False, -128, 127),
        (8, False, False, 0, 255),
        (16, True, False, -32768, 32767),
        (16, False, False, 0, 65535),
    ],
)
def test_code_ranges_and_their_types(bits, signed, narrow, low, high):
    grid = Grid.power_of_two(bits, 0, signed, narrow)
    assert (grid.low, grid.high) == (low, high)
    assert np.iinfo(grid.dtype).min <= low
    assert high <= np.iinfo(grid.dtype).max
    assert grid.dtype.itemsize == (1 if bits <= 8 else 2)
    assert grid.quantize(np.array([-1e9, 1e9])).tolist() == [low, high]


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("signed", [True, False])
def test_the_threshold_is_the_step_times_the_number_of_codes_of_a_side(bits, signed):
    grid = Grid.power_of_two(bits, 3, signed)
    assert grid.threshold == 8.0
    assert grid.steps[0] == 8.0 / 2 ** (bits - signed)
    assert grid.exponent == 3
    assert grid.is_power_of_two


def test_published_fake_quantization_vectors():
    # 2210.03671, test vectors of its authors: 4 bits narrow, steps 2 and 1; 5/2 and 3/2 go to even codes
    x = np.array([[6.0, 5, 1], [8, 3, -8]])
    assert Grid(4, (2.0,), narrow=True).project(x).tolist() == [[6, 4, 0], [8, 4, -8]]
    assert Grid(4, (1.0,), narrow=True).project(x).tolist() == [[6, 5, 1], [7, 3, -7]]


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_each_channel_uses_its_own_step(axis):
    x = np.random.default_rng(0).standard_normal((3, 3, 3))
    grid = Grid.power_of_two(4, [-1, 0, 1], axis=axis)
    for channel, e in enumerate([-1, 0, 1]):
        part = np.take(x, channel, axis)
        alone = Grid.power_of_two(4, e)
        np.testing.assert_array_equal(np.take(grid.project(x), channel, axis), alone.project(part))
        np.testing.assert_array_equal(np.take(grid.quantize(x), channel, axis), alone.quantize(part))
    np.testing.assert_array_equal(grid.threshold, [0.5, 1.0, 2.0])
    assert grid.channels == 3


def test_project_keeps_float32_and_float64_and_lifts_integers():
    grid = Grid.power_of_two(8, 0)
    assert grid.project(np.zeros(2, np.float32)).dtype == np.float32
    assert grid.project(np.zeros(2, np.float64)).dtype == np.float64
    assert grid.project(np.zeros(2, np.int32)).dtype == np.float64


def test_float32_is_projected_without_rounding_twice():
    x = np.nextafter(np.float32(0.5), np.float32(0)) * np.float32(2.0**-7)
    assert Grid.power_of_two(8, 0).quantize(x) == 0


def test_a_grid_with_a_free_step_has_no_exponent():
    grid = Grid(4, (0.3,))
    assert not grid.is_power_of_two
    assert grid.threshold == pytest.approx(2.4)
    with pytest.raises(GridError, match="power-of-two"):
        _ = grid.exponents
    with pytest.raises(GridError, match="one per channel"):
        _ = Grid.power_of_two(4, [0, 1], axis=0).exponent


def test_grids_are_values():
    assert Grid.power_of_two(4, 0) == Grid(4, (0.125,))
    assert len({Grid.power_of_two(4, 0), Grid.power_of_two(4, 0, narrow=True), Grid(4, (0.125,))}) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 0, "steps": (1.0,)}, "from 1 to 16, got 0"),
        ({"bits": 17, "steps": (1.0,)}, "from 1 to 16, got 17"),
        ({"bits": 2.5, "steps": (1.0,)}, "integer from 1 to 16, got 2.5"),
        ({"bits": True, "steps": (1.0,)}, "integer from 1 to 16, got True"),
        ({"bits": 4, "steps": ()}, "at least one step"),
        ({"bits": 4, "steps": (1.0, 2.0)}, "2 steps need an axis"),
        ({"bits": 4, "steps": (1.0, 0.0), "axis": 0}, "step of channel 1 must be positive and finite, got 0"),
        ({"bits": 4, "steps": (math.nan,)}, "positive and finite, got nan"),
        ({"bits": 4, "steps": (1.0,), "signed": False, "narrow": True}, "unsigned grid cannot be narrow"),
        ({"bits": 1, "steps": (1.0,), "narrow": True}, "nothing but zero"),
    ],
)
def test_contradictory_grids_are_refused_by_name(arguments, message):
    with pytest.raises(GridError, match=message):
        Grid(**arguments)


def test_values_that_a_grid_cannot_take_are_refused():
    grid = Grid.power_of_two(4, [0, 1], axis=0)
    with pytest.raises(NonFiniteValues, match="2 of 4 values are NaN or infinite"):
        grid.quantize(np.array([[np.nan, 1.0], [np.inf, 0.0]]))
    with pytest.raises(GridError, match="2 channels does not fit axis 0"):
        grid.project(np.zeros((3, 2)))
    with pytest.raises(GridError, match="axis 0 does not exist"):
        grid.project(np.float64(1.0))
    with pytest.raises(GridError, match=r"do not fit a grid of -8 \.\. 7"):
        grid.dequantize(np.array([[8, 0], [0, 0]]))


@pytest.mark.parametrize("exponent", [0, [0, -1, 1, 0, 2, -3, 0]])
def test_a_large_array_is_put_on_a_grid_part_by_part_as_it_is_whole(monkeypatch, exponent):
    x = np.random.default_rng(0).normal(size=(7, 5, 3)).astype(np.float32)
    grid = Grid.power_of_two(4, exponent, axis=None if isinstance(exponent, int) else 0)
    codes, values = grid.quantize(x), grid.project(x)
    assert grid.holds(values)
    monkeypatch.setattr("mpq_plugins.grid._TOGETHER", 40)
    np.testing.assert_array_equal(grid.quantize(x), codes)
    np.testing.assert_array_equal(grid.project(x), values)
    values[6, 0, 0] += grid.steps[-1] / 2
    assert not grid.holds(values)

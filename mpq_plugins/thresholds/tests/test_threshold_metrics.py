"""The metrics kl and no_clipping against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpq_plugins.grid import Grid
from mpq_plugins.tests.brute_force import arrays, kinds
from mpq_plugins.thresholds.search import error_table, search_threshold


def brute_force_kl(x: np.ndarray, b: int, e: int, signed: bool, narrow: bool) -> float:
    """The definition in error_table's docstring, value by value."""
    x = np.asarray([v for v in np.ravel(x) if v != 0], dtype=np.float64)
    ends = []
    for magnitudes in (-x[x < 0], x[x > 0]):
        ends.append(2.0 ** (math.floor(math.log2(magnitudes.max())) + 1) if magnitudes.size else 0.0)
    grid = Grid.power_of_two(b, e, signed, narrow)
    bins: dict[tuple[bool, float, float], int] = {}
    cells: dict[int, int] = {}
    for v in x:
        octave = 2.0 ** math.floor(math.log2(abs(v)))
        width = octave / 256
        key = (v < 0, math.floor(abs(v) / width), width)
        bins[key] = bins.get(key, 0) + 1
        away_from_zero = math.copysign(math.floor(abs(v) / grid.step + 0.5), v)
        code = int(min(max(away_from_zero, grid.low), grid.high))
        cells[code] = cells.get(code, 0) + 1
    n = len(x)
    result = sum(k / n * math.log(k / n / width) for (_, _, width), k in bins.items())
    for code, k in cells.items():
        left = -ends[0] if code == grid.low else max((code - 0.5) * grid.step, -ends[0])
        right = ends[1] if code == grid.high else min((code + 0.5) * grid.step, ends[1])
        result -= k / n * math.log(k / n / (right - left))
    return result


@settings(max_examples=60, deadline=None)
@given(
    x=hnp.arrays(np.float32, st.integers(1, 40), elements=st.integers(-200, 200).map(lambda k: k / 64)),
    b=st.integers(2, 8),
    e=st.integers(-5, 3),
    kind=kinds,
)
def test_kl_is_the_divergence_of_its_definition(x, b, e, kind):
    if not x.any():
        x[0] = 1.0
    found = error_table(x, [b], [e], kind[0], "kl", narrow=kind[1]).error[0, 0]
    assert found == pytest.approx(brute_force_kl(x, b, e, *kind), abs=1e-10)


def test_kl_never_grows_with_bits_at_one_threshold():
    x = np.random.default_rng(5).laplace(size=20_000)
    assert np.all(np.diff(error_table(x, range(2, 9), range(-3, 5), metric="kl").error, axis=0) <= 1e-12)


def test_kl_of_nothing_but_zeros_is_zero():
    assert not error_table(np.zeros(5), metric="kl").error.any()


@settings(max_examples=100, deadline=None)
@given(x=arrays(), b=st.integers(2, 8), kind=kinds)
def test_no_clipping_is_the_smallest_threshold_that_clips_nothing_after_rounding(x, b, kind):
    x = np.clip(x, -100, 100)
    signed, narrow = kind

    def clips(e: int) -> bool:
        grid = Grid.power_of_two(b, e, signed, narrow)
        codes = np.rint(x.astype(np.float64) / grid.step)
        return bool(np.any(codes > grid.high) or (signed and np.any(codes < grid.low)))

    window = range(-60, 10)
    expected = next(e for e in window if not clips(e))
    assert error_table(x, [b], window, signed, "no_clipping", narrow=narrow).best(b).exponent == expected
    if np.any(np.abs(x) > 2.0**-40) and (signed or np.any(x > 2.0**-40)):
        assert search_threshold(x, b, signed, "no_clipping", narrow=narrow).exponent == expected

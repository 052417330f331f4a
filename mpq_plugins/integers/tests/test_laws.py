"""The stages of a runtime's words give the numbers of the same words in floats (graph.arithmetic)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins import Grid
from mpq_plugins.graph import arithmetic
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.runtimes.runtime import Entry
from mpq_plugins.integers import laws, stages
from mpq_plugins.integers.entrance import input_codes
from mpq_plugins.integers.lowering import ProgramBuilder
from mpq_plugins.integers.steps import Clamp, Shift

COUNTS = st.integers(1, 128 * 128)
ROUNDINGS = st.sampled_from(["half_even", "half_up", "half_away"])


class Float32Runner(type(NUMPY_RUNNER)):
    """NumPy with the two conversions that accumulators need."""

    def to_precision(self, x, precision):
        return np.asarray(x, precision)

    def tensor(self, array, precision=None):
        return np.asarray(array, precision)


RUN = Float32Runner()
CLIP = Clamp(-128, 127)


@given(count=COUNTS, data=st.data())
def test_a_mean_by_a_float32_reciprocal_is_what_float32_gives(count, data):
    largest = 255
    sums = np.array(data.draw(st.lists(st.integers(-largest * count, largest * count), min_size=1)))
    expected = np.rint(sums.astype(np.float32) * np.float32(1.0 / count))
    assert (
        stages.apply(laws.float32_reciprocal_mean(count, largest, "half_even"), sums, 0).tolist() == expected.tolist()
    )


@given(count=COUNTS, data=st.data())
def test_a_fixed_point_mean_rounds_twice(count, data):
    sums = data.draw(st.lists(st.integers(-255 * count, 255 * count), min_size=1))
    shift = count.bit_length() - 1
    multiplier = (2**30 << shift) // count

    def twice(total):
        if shift == 0:
            return total
        high = (total * multiplier + 2**30) // 2**31
        magnitude = (2 * abs(high) + 2 ** (shift - 1)) // 2**shift
        return magnitude if high >= 0 else -magnitude

    assert stages.apply(laws.fixed_point_mean(count, 255, "half_away"), np.array(sums), 0).tolist() == [
        twice(t) for t in sums
    ]


def test_a_mean_of_a_power_of_two_is_a_shift():
    assert laws.exact_mean(64, 255, "half_up") == (Shift((6,), "half_up"),)


@pytest.mark.parametrize("how", laws.MEANS)
@given(count=COUNTS, rounding=ROUNDINGS, data=st.data())
def test_means_are_those_of_the_simulation(how, count, rounding, data):
    sums = np.array(data.draw(st.lists(st.integers(-255 * count, 255 * count), min_size=1)))
    wanted = arithmetic.mean_of(RUN, sums.astype(np.float64), count, how, rounding)
    assert stages.apply(laws.MEANS[how](count, 255, rounding), sums, 0).tolist() == wanted.tolist()


@pytest.mark.parametrize("how", laws.ACCUMULATIONS)
@given(
    exponent=st.integers(-30, 4),
    rounding=ROUNDINGS,
    codes=st.lists(st.integers(-600, 600) | st.integers(-(2**30), 2**30), min_size=1),
)
def test_accumulators_are_requantized_as_in_the_simulation(how, exponent, rounding, codes):
    exact = np.array(codes)
    if how.startswith("fixed_point"):
        upward = arithmetic.shifted_upward(how, 1)
        wanted = arithmetic.fixed_point_product(RUN, exact.astype(np.float64), 2.0**exponent, upward)
    else:
        wanted = arithmetic.requantized(RUN, exact.astype(np.float64), np.float32(2.0**exponent), rounding)
    made = laws.ACCUMULATIONS[how]([-exponent], 2**30, rounding)
    found = stages.apply([*made, CLIP], exact, 0)
    assert found.tolist() == np.clip(wanted, CLIP.low, CLIP.high).tolist()


@pytest.mark.parametrize("how", laws.SUMS)
@given(data=st.data())
def test_sums_are_those_of_the_simulation(how, data):
    exponents = data.draw(st.tuples(st.integers(-8, 8), st.integers(-8, 8), st.integers(-8, 8)))
    grids = [Grid.power_of_two(8, exponent) for exponent in exponents]
    codes = [np.array(data.draw(st.lists(st.integers(-128, 127), min_size=6, max_size=6))) for _ in range(2)]
    rounding = data.draw(ROUNDINGS)
    floats = [c.astype(np.float64) for c in codes]
    wanted = arithmetic.SUMS[how](RUN, *floats, tuple(grids[:2]), grids[2], rounding)
    builder = ProgramBuilder("m", "generic-po2", "none", "channels_last")
    names = [builder.tensor(name, (6,), grid) for name, grid in zip("abc", grids, strict=True)]
    builder.add(names[2], (names[0], names[1]), grids[2], rounding, how)
    step = builder.steps[-1]
    total = sum(np.left_shift(c, by) for c, by in zip(codes, step.left, strict=True))
    assert stages.apply(step.stages, total, 0).tolist() == np.clip(wanted, -128, 127).tolist()


@pytest.mark.parametrize("how", laws.AVERAGES)
@given(count=st.integers(1, 64), signed=st.booleans(), rounding=ROUNDINGS, data=st.data())
def test_averages_are_those_of_the_simulation(how, count, signed, rounding, data):
    grid = Grid.power_of_two(8, 0, signed=signed)
    codes = np.array(data.draw(st.lists(st.integers(grid.low, grid.high), min_size=count, max_size=count)))
    law = laws.AVERAGES[how]
    offset = law.offset(grid)
    found = stages.divide(np.sum(codes + offset), count, law.rounding or rounding) - offset
    assert found == arithmetic.average_of(RUN, np.float64(codes.sum()), float(count), grid, how, rounding)


@given(
    by=st.sampled_from(["quotient", "reciprocal"]),
    zero_point=st.booleans(),
    rounding=ROUNDINGS,
    bits=st.integers(2, 8),
    signed=st.booleans(),
    exponent=st.integers(-8, 8),
    values=st.lists(st.floats(-1000, 1000, width=32), min_size=1),
)
def test_codes_of_an_input_are_those_of_the_simulation(by, zero_point, rounding, bits, signed, exponent, values):
    grid, entry = Grid.power_of_two(bits, exponent, signed), Entry(by, zero_point)
    x = np.array(values, np.float32)
    builder = ProgramBuilder("m", "generic-po2", "none", "channels_last")
    builder.inputs.append(laws.entrance(builder.tensor("x", (), grid), grid, entry, rounding))
    found = input_codes(builder.finish(["x"]), x)["x"]
    assert found.tolist() == arithmetic.entered(RUN, x, grid, entry, rounding).tolist()

"""The draws of a step: uniform, and a function of seed, group, place and step alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.noise import counters, draws, mixed, step_key
from mpq_plugins.training.slot import Slot


def slot(name, inputs):
    return Slot(name, "weight", (4, inputs, 3, 3), (Candidate(4, True, False),), None, 1)


def plain(x):
    """The mixing function with Python's own whole numbers, as its source states it."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) % 2**32
    x = ((x ^ (x >> 15)) * 0xD35A2D97) % 2**32
    return x ^ (x >> 15)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_mixing_is_arithmetic_modulo_two_to_the_32(numbers):
    assert mixed(NUMPY, np.array(numbers, np.int64)).tolist() == [plain(n) for n in numbers]


def test_draws_are_uniform_and_those_of_places_and_steps_tell_nothing_of_one_another():
    counter = counters(Bank.of([slot("a", 500)]), "input_channel", (40,), 0)
    series = np.stack([draws(NUMPY, counter, step_key(step)).ravel() for step in range(5)])
    assert series.min() >= 0
    assert series.max() < 1
    counts, _ = np.histogram(series, bins=50, range=(0, 1))
    expected = series.size / 50
    assert np.sum((counts - expected) ** 2 / expected) < 95  # chi square of 49 degrees: 1 in 10,000 is above
    for first, second in ((series[0], series[1]), (series[0], series[4]), (series[0, :-1], series[0, 1:])):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.03


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_group_has_the_same_draws_wherever_it_stands(order):
    slots = [slot("a", 3), slot("b", 5), slot("c", 2)]
    bank = Bank.of([slots[i] for i in order])
    together = counters(bank, "input_channel", (7,), 3)
    for place, i in enumerate(order):
        alone = counters(Bank.of([slots[i]]), "input_channel", (7,), 3)
        np.testing.assert_array_equal(together[bank.layout.rows("input_channel", place)], alone)


def test_seed_and_name_tell_draws_apart():
    found = [counters(Bank.of([slot(n, 3)]), "input_channel", (2,), seed) for n, seed in (("a", 0), ("a", 1), ("b", 0))]
    assert len({tuple(part.ravel()) for part in found}) == 3
    assert len(np.unique(np.concatenate(found))) == 18

"""Calibration sets that do not fit, or never end."""

import itertools

import pytest

from mpq_plugins.calibration.holding import held, machine_memory
from mpq_plugins.errors import CalibrationTooLarge


def test_an_iterator_without_an_end_is_refused_with_the_way_out():
    with pytest.raises(CalibrationTooLarge, match=r"0\.001 GB after 10 batches.*islice"):
        held(itertools.repeat("batch"), lambda batch: 100_000, limit=1_000_000)


def test_what_just_fits_is_held_in_its_order():
    assert held(range(10), lambda batch: 10, limit=100) == list(range(10))


def test_the_memory_of_a_machine_is_more_than_a_hundred_megabytes():
    assert machine_memory() > 10**8

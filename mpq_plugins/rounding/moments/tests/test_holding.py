"""Calibration sets that do not fit, or never end."""

import itertools

import pytest

from mpq_plugins.errors import CalibrationTooLarge, MPQError
from mpq_plugins.rounding.moments import holding
from mpq_plugins.rounding.moments.holding import held, memory_limit


def test_an_iterator_without_an_end_is_refused_with_the_way_out():
    with pytest.raises(CalibrationTooLarge, match=r"0\.001 GB after 10 batches.*islice"):
        held(itertools.repeat("batch"), lambda batch: 100_000, limit=1_000_000)


def test_batches_so_small_that_they_never_fill_the_memory_are_counted():
    with pytest.raises(CalibrationTooLarge, match=r"more than 131072 batches, or has no end.*islice"):
        held(itertools.repeat("batch"), lambda batch: 0)


def test_what_just_fits_is_held_in_its_order():
    assert held(range(10), lambda batch: 10, limit=100) == list(range(10))


def test_a_limit_of_memory_is_a_number_of_gigabytes_and_by_default_what_is_free(monkeypatch):
    monkeypatch.setattr(holding, "machine_memory", lambda: 77)
    assert memory_limit(0.25) == 250_000_000
    assert memory_limit(None) == 77


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan"), "4GB", True])
def test_any_other_limit_of_memory_is_refused(wrong):
    with pytest.raises(MPQError, match="memory_gb is a number of gigabytes above 0"):
        memory_limit(wrong)

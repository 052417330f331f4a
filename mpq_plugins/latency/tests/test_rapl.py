from __future__ import annotations

import pytest

from mpq_plugins.latency import rapl


@pytest.fixture
def counters(tmp_path):
    """One package whose counter a test can move, and a part of it, which must not count twice."""
    for name, start in (("intel-rapl:0", 1_000_000), ("intel-rapl:0:0", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{start}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("2000000\n")
    return tmp_path


def test_a_machine_without_counters_has_no_energy(tmp_path):
    assert rapl.joules_per_call(lambda: None, tmp_path / "nothing") is None
    assert rapl.packages(tmp_path) == ()


def test_the_energy_of_a_call_is_the_difference_of_the_counter(counters):
    def call():
        (counters / "intel-rapl:0" / "energy_uj").write_text("1500000")

    assert rapl.joules_per_call(call, counters, shortest=0.0) == pytest.approx(0.5)


def test_a_counter_that_starts_anew_is_continued(counters):
    def call():
        (counters / "intel-rapl:0" / "energy_uj").write_text("250000")

    assert rapl.joules_per_call(call, counters, shortest=0.0) == pytest.approx(1.25)


def test_a_counter_that_does_not_move_gives_nothing(counters):
    assert rapl.joules_per_call(lambda: None, counters, shortest=0.0) is None

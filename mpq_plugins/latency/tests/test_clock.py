"""How long a call takes, by a clock that the test moves."""

from __future__ import annotations

import pytest

from mpq_plugins.latency import clock


@pytest.fixture
def now(monkeypatch):
    """The clock: a list of one number, which calls move on."""
    moment = [0.0]
    monkeypatch.setattr(clock.time, "perf_counter", lambda: moment[0])
    return moment


@pytest.mark.parametrize("seconds", [1e-7, 3e-6, 3e-5, 2e-3, 0.5])
def test_a_call_takes_what_the_clock_says(now, seconds):
    def call():
        now[0] += seconds

    assert clock.seconds_per_call(call) == pytest.approx(seconds)


def test_the_first_call_is_not_counted(now):
    calls = []

    def call():
        calls.append(None)
        now[0] += 1e-3 if len(calls) > 1 else 10.0

    assert clock.seconds_per_call(call) == pytest.approx(1e-3)


def test_interruptions_of_some_calls_do_not_count(now):
    calls = []

    def call():
        calls.append(None)
        now[0] += 1e-4 + (5e-3 if len(calls) % 4 == 0 else 0.0)

    assert clock.seconds_per_call(call) == pytest.approx(1e-4)


def test_several_calls_are_timed_in_turns(now):
    order = []

    def call(name, seconds):
        def run():
            if not order or order[-1] != name:
                order.append(name)
            now[0] += seconds

        return run

    found = clock.time_in_turns({"a": call("a", 1e-3), "b": call("b", 2e-3)}, rounds=3, warmup=1)
    assert order == ["a", "b"] * 4
    assert {name: timing.seconds for name, timing in found.items()} == pytest.approx({"a": 1e-3, "b": 2e-3})
    assert found["a"].samples == 3

"""The rounds, on a device that is registered through the hooks and whose times the test decides."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from mpq_plugins.errors import CostError, PluginError
from mpq_plugins.hardware.device import Device
from mpq_plugins.latency.clock import Timing
from mpq_plugins.latency.measuring import measure_workloads
from mpq_plugins.latency.timing_store import TimingStore
from mpq_plugins.tests.fake_device import CONV, LINEAR, TARGET, FakeDevice

TRUE = {CONV: 2e-3, LINEAR: 1e-3}


def measure(device, store=None, **rest):
    store = TimingStore(device.device()) if store is None else store
    return measure_workloads(TARGET, TRUE, store, progress=False, **rest)


def test_the_median_and_the_spread_of_the_rounds_come_back(monkeypatch):
    device = FakeDevice(lambda workload, call: TRUE[workload]).install(monkeypatch)
    assert measure(device, rounds=3, warmup=1) == {w: Timing(s, 0.0, 3) for w, s in TRUE.items()}
    assert Counter(device.asked) == {CONV: 4, LINEAR: 4}


def test_each_round_asks_for_every_workload_once_so_that_drift_favours_nobody(monkeypatch):
    # the device gets steadily slower: measured one after the other, the second workload would look far dearer
    device = FakeDevice(lambda workload, call: TRUE[workload] * (1 + call)).install(monkeypatch)
    found = measure(device, rounds=40, warmup=0)
    for turn in range(40):
        assert set(device.asked[2 * turn : 2 * turn + 2]) == set(TRUE)
    assert found[CONV].seconds / found[LINEAR].seconds == pytest.approx(2, rel=0.05)


def test_warm_up_rounds_are_thrown_away(monkeypatch):
    device = FakeDevice(lambda workload, call: 1.0 if call < 4 else TRUE[workload]).install(monkeypatch)
    assert {w: t.seconds for w, t in measure(device, rounds=2, warmup=2).items()} == TRUE


def test_one_slow_sample_does_not_move_the_median(monkeypatch):
    device = FakeDevice(lambda workload, call: 9.0 if call == 3 else TRUE[workload]).install(monkeypatch)
    assert {w: t.seconds for w, t in measure(device, rounds=5, warmup=0).items()} == TRUE


def test_what_is_measured_is_kept_and_not_measured_again(monkeypatch, tmp_path):
    device = FakeDevice(lambda workload, call: TRUE[workload]).install(monkeypatch)
    path = tmp_path / "timings.json"
    first = measure(device, TimingStore.at(path, device.device()), rounds=3)
    asked = len(device.asked)
    assert measure(device, TimingStore.at(path, device.device()), rounds=3) == first
    assert len(device.asked) == asked
    measure(device, TimingStore.at(path, device.device()), rounds=3, again=True)
    assert len(device.asked) == 2 * asked


def test_an_interrupted_measurement_goes_on_where_it_was(monkeypatch, tmp_path):
    path = tmp_path / "timings.json"

    def broken_off(workload, call):
        if call == 7:
            raise KeyboardInterrupt
        return TRUE[workload]

    device = FakeDevice(broken_off).install(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        measure(device, TimingStore.at(path, device.device()), rounds=5, warmup=0)
    kept = TimingStore.at(path, device.device())
    assert sum(kept.samples(w) for w in TRUE) == 7

    resumed = FakeDevice(lambda workload, call: TRUE[workload]).install(monkeypatch)
    found = measure(resumed, kept, rounds=5, warmup=0)
    assert {w: t.samples for w, t in found.items()} == {CONV: 5, LINEAR: 5}
    assert len(resumed.asked) == 3
    assert not list(tmp_path.glob("*.part"))


def test_a_file_of_another_device_is_refused_with_what_differs(monkeypatch, tmp_path):
    device = FakeDevice(lambda workload, call: TRUE[workload]).install(monkeypatch)
    path = tmp_path / "timings.json"
    measure(device, TimingStore.at(path, device.device()), rounds=1)
    other = Device(TARGET.name, {"board": "rev 3", "driver": "1.4"})
    with pytest.raises(
        CostError, match=r"board is 'rev 2' there and 'rev 3' here, driver is None there and '1\.4' here"
    ):
        TimingStore.at(path, other)
    assert TimingStore.load(path).device == device.device()  # but it can be read anywhere, as what it is


def test_the_cache_keeps_devices_apart(monkeypatch, tmp_path):
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path))
    one = TimingStore.in_cache(Device("fake-npu", {"board": "1"}))
    two = TimingStore.in_cache(Device("fake-npu", {"board": "2"}))
    assert one.path != two.path
    assert one.path.parent == tmp_path / "latency"


def test_a_cache_that_cannot_be_written_costs_only_the_keeping(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path / "file"))
    assert TimingStore.in_cache(Device("fake-npu", {"board": "1"})).path is None


def test_a_portable_file_holds_plain_json_with_device_versions_and_workloads(monkeypatch, tmp_path):
    device = FakeDevice(lambda workload, call: TRUE[workload], energy=lambda workload: 0.25).install(monkeypatch)
    path = tmp_path / "timings.json"
    measure(device, TimingStore.at(path, device.device()), rounds=2)
    data = json.loads(path.read_text())
    assert data["device"] == {"board": "rev 2"}
    assert {entry["workload"]["op"]: entry["joules"] for entry in data["timings"]} == {
        "conv2d": [0.25, 0.25],
        "linear": [0.25, 0.25],
    }
    assert TimingStore.load(path).timings()[CONV].joules == 0.25


def test_a_device_without_an_energy_has_none(monkeypatch):
    device = FakeDevice(lambda workload, call: TRUE[workload]).install(monkeypatch)
    assert [timing.joules for timing in measure(device, rounds=2).values()] == [None, None]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1e-3, 0.0, "fast"], ids=str)
def test_what_is_no_duration_is_refused_with_the_plug_in_and_the_workload(monkeypatch, seconds):
    device = FakeDevice(lambda workload, call: seconds).install(monkeypatch)
    with pytest.raises(PluginError, match=r"(conv2d|linear) .* 'fake-npu': plug-in 'fake' measured"):
        measure(device, rounds=1)


def test_a_device_that_returns_nothing_is_refused_with_the_way_out(monkeypatch):
    device = FakeDevice(lambda workload, call: None).install(monkeypatch)
    with pytest.raises(CostError, match=r"no plug-in measures .* on target 'fake-npu'; register one with the hook"):
        measure(device, rounds=1)


def test_an_op_that_the_device_does_not_know_is_named(monkeypatch):
    def refuse(workload, call):
        raise CostError(f"no kernel for {workload.op}")

    device = FakeDevice(refuse).install(monkeypatch)
    with pytest.raises(PluginError, match="plug-in 'fake' cannot measure latency: no kernel for"):
        measure(device, rounds=1)


def test_an_energy_that_is_none_is_refused(monkeypatch):
    device = FakeDevice(lambda workload, call: 1e-3, energy=lambda workload: -1.0).install(monkeypatch)
    with pytest.raises(CostError, match=r"energy of -1\.0 J"):
        measure(device, rounds=1)


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "mpq-recipe"}'])
def test_a_file_that_holds_no_measurements_is_refused_by_name(tmp_path, content):
    path = tmp_path / "timings.json"
    path.write_text(content)
    with pytest.raises(CostError, match=r"timings\.json"):
        TimingStore.load(path)


@pytest.mark.parametrize("samples", [[], [-1.0], ["x"], [float("nan")]], ids=str)
def test_damaged_samples_and_newer_files_are_refused(tmp_path, samples):
    path = tmp_path / "timings.json"
    store = TimingStore(Device("fake-npu", {"board": "1"}), path)
    data = store.fields().model_dump() | {"timings": [{"workload": CONV.to_dict(), "seconds": samples}]}
    path.write_text(json.dumps(data))
    if samples:
        with pytest.raises(CostError, match="delete it to measure again"):
            TimingStore.load(path)
    path.write_text(json.dumps(data | {"schema_version": 2}))
    with pytest.raises(CostError, match="schema 2"):
        TimingStore.load(path)


def test_no_rounds_are_refused():
    with pytest.raises(CostError, match="at least one round"):
        measure_workloads(TARGET, [CONV], TimingStore(Device("fake-npu", {"a": "b"})), rounds=0)


def test_a_plug_in_that_describes_its_device_wrongly_is_named(monkeypatch):
    from mpq_plugins import plugins

    device = FakeDevice(lambda workload, call: 1e-3).install(monkeypatch)
    device.device = lambda: {"board": "1"}  # type: ignore[method-assign,assignment]
    with pytest.raises(PluginError, match="'fake' describes its device as"):
        plugins.host().describe_device(TARGET)


def test_a_target_that_nobody_describes_is_this_machine():
    from mpq_plugins import plugins

    device = plugins.PluginHost(entry_points=()).describe_device(TARGET)
    assert device.target == "fake-npu"
    assert int(device.facts["cores"]) >= 1


def test_the_spread_is_half_of_the_middle_half():
    samples = [1.0, 2.0, 4.0, 8.0, 16.0]
    low, high = np.quantile(samples, [0.25, 0.75])
    assert Timing.of(samples) == Timing(4.0, (high - low) / 2, 5)
    with pytest.raises(CostError, match="at least one sample"):
        Timing.of([])

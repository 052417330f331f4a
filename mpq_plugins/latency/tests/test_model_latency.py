"""From workloads to the table: what runs alike is measured once, holes are named, files are checked."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import cost_of
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.costs.op_table import EnergyTable
from mpq_plugins.errors import CostError
from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.workload import ModelWork, Workload
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.latency.model_latency import describe, measure_model
from mpq_plugins.latency.timing_store import TimingStore
from mpq_plugins.search.request import Request
from mpq_plugins.search_input import candidates_for
from mpq_plugins.tests.fake_device import TARGET, FakeDevice

FC = Workload("linear", ((16,),), (4,), (4, 16))
CLIP = Workload("clip", ((4,),), (4,))
END = Workload("dequantize", ((4,),), (4,))
INVENTORY = Inventory(
    [
        Site("x", "activation", "input", (16,)),
        Site("fc.weight", "weight", "linear", (4, 16), 64, 0, True, ("x",)),
        Site("fc", "activation", "linear", (4,), inputs=("x",)),
    ]
)
WORK = ModelWork({"fc.weight": (FC,)}, {"fc": (CLIP,)}, (END,))


def seconds(workload, call):
    if workload.op == "linear":
        return 1e-3 * workload.weight_bits * workload.activation_bits
    return 1e-3 if workload.op == "clip" else 0.5e-3


def measured(device, work=WORK, **rest):
    candidates = candidates_for(INVENTORY, TARGET, **rest)
    store = TimingStore(device.device())
    return measure_model(work, INVENTORY, TARGET, candidates, rounds=2, progress=False, store=store)


def test_every_choice_of_bits_is_measured_and_added_up(monkeypatch):
    device = FakeDevice(seconds).install(monkeypatch)
    table = measured(device)
    assert table.milliseconds["fc.weight"] == pytest.approx({(4, 4): 16, (4, 8): 32, (8, 4): 32, (8, 8): 64})
    assert cost_of(table, INVENTORY, {"x": 8, "fc.weight": 4, "fc": 4}) == pytest.approx(32 + 1 + 0.5)
    assert table.device == device.device()
    assert table.holes(INVENTORY, {"x": (4, 8), "fc.weight": (4, 8), "fc": (4, 8)}) == ()


def test_workloads_that_the_device_runs_alike_are_measured_once_and_cost_the_same(monkeypatch):
    def as_run(workload):
        if workload.op == "clip" and workload.activation_bits == 8:
            return None
        return replace(workload, weight_bits=8 if workload.weight else None, activation_bits=8)

    device = FakeDevice(seconds, as_run=as_run).install(monkeypatch)
    table = measured(device)
    assert len(set(device.asked)) == 3
    assert set(table.milliseconds["fc.weight"].values()) == {64.0}
    assert table.milliseconds["fc"] == pytest.approx({4: 1.0, 8: 0.0})


def test_a_batch_is_counted_for_one_sample(monkeypatch):
    device = FakeDevice(seconds).install(monkeypatch)
    work = ModelWork({"fc.weight": (replace(FC, batch=4),)}, {}, (replace(END, batch=4),))
    table = measured(device, work, weight_bits=8, activation_bits=8)
    assert table.milliseconds["fc.weight"][8, 8] == pytest.approx(16)
    assert table.overhead_ms == pytest.approx(0.125)


def test_energies_make_a_table_of_their_own(monkeypatch):
    device = FakeDevice(seconds, energy=lambda workload: 2e-3).install(monkeypatch)
    table = measured(device, weight_bits=8, activation_bits=8)
    assert set(table.resources()) == {"latency_ms", "energy_mj"}
    assert cost_of(table.energy, INVENTORY, {"x": 8, "fc.weight": 8, "fc": 8}) == pytest.approx(6.0)
    assert set(measured(FakeDevice(seconds).install(monkeypatch)).resources()) == {"latency_ms"}


def test_a_weight_without_a_workload_is_named(monkeypatch):
    device = FakeDevice(seconds).install(monkeypatch)
    with pytest.raises(CostError, match=r"no workload for the weight fc\.weight"):
        measured(device, ModelWork({}))


def test_a_table_with_holes_names_each_before_anything_is_measured():
    table = LatencyTable({"fc.weight": {(4, 8): 1.0, (8, 8): 2.0}, "fc": {8: 0.1}})
    bits = {"weight_bits": (4, 8), "activation_bits": {"fc": 6, "*": (4, 8)}}
    request = Request("generic-po2", budget=Budget(latency_ms=2), latency=table, **bits)
    with pytest.raises(CostError) as error:
        request.check(INVENTORY)
    text = str(error.value)
    for hole in ("fc.weight at 4-bit weights with 4-bit activations", "fc.weight at 8-bit", "fc at 6 bits"):
        assert hole in text


def test_a_table_of_another_target_is_refused_by_the_search():
    table = LatencyTable({"fc.weight": {8: 1.0}}, device=Device("fake-npu", {"board": "1"}))
    request = Request("generic-po2", weight_bits=8, activation_bits=8, latency=table)
    with pytest.raises(CostError, match="measured on target 'fake-npu', and the search is for 'generic-po2'"):
        request.check(INVENTORY)


def test_a_table_moves_to_another_machine_as_json(monkeypatch, tmp_path):
    device = FakeDevice(seconds, energy=lambda workload: 1e-3).install(monkeypatch)
    table = measured(device)
    table.save(tmp_path / "table.json")
    again = LatencyTable.load(tmp_path / "table.json")
    assert (again.milliseconds, again.overhead_ms, again.spread_ms) == (
        table.milliseconds,
        table.overhead_ms,
        table.spread_ms,
    )
    assert again.energy == table.energy
    assert again.device == table.device
    assert LatencyTable.load(tmp_path / "table.json", describe(TARGET)).device == table.device
    with pytest.raises(CostError, match="board is 'rev 2' there and 'rev 3' here"):
        LatencyTable.load(tmp_path / "table.json", Device("fake-npu", {"board": "rev 3"}))


def test_a_table_given_by_hand_survives_its_file_too(tmp_path):
    table = LatencyTable({"conv 3x3": {4: 0.5}}, {"fc.weight": "conv 3x3"}, 0.25)
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "mpq-recipe"}, "no latency table"),
        ({"schema_version": 2}, "schema 2"),
        ({"milliseconds": {"fc": {"8": -1.0}}}, "damaged: the latency"),
        ({"milliseconds": {"fc": {"x8": 1.0}}}, "damaged"),
        ({"milliseconds": 3}, "damaged"),
        ({"target": "a"}, "damaged"),
    ],
    ids=str,
)
def test_a_damaged_file_is_refused_by_name(tmp_path, change, message):
    path = tmp_path / "table.json"
    LatencyTable({"fc": {8: 1.0}}).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(CostError, match=message):
        LatencyTable.load(path)


def test_a_file_that_is_no_json_or_not_there_is_refused(tmp_path):
    (tmp_path / "table.json").write_text("{")
    with pytest.raises(CostError, match="damaged"):
        LatencyTable.load(tmp_path / "table.json")
    with pytest.raises(CostError, match="cannot read"):
        LatencyTable.load(tmp_path / "nothing.json")


def test_an_energy_that_is_none_is_refused_as_an_energy():
    with pytest.raises(CostError, match=r"the energy .* must be a finite number of millijoules"):
        EnergyTable({"fc": {8: float("nan")}})
    with pytest.raises(CostError, match=r"the energy table has no entry for fc\.weight"):
        EnergyTable({"x": {8: 1.0}}).rows(INVENTORY)

"""Latency on torch's own kernels: every network has a complete table, and the numbers are those of real calls."""

import copy

import pytest
import torch
from torch import nn

import mpq_plugins as mpq
from mpq_plugins import plugins
from mpq_plugins.builtin.bit_array import NAME as ANALYTIC
from mpq_plugins.costs.cost_models import cost_of
from mpq_plugins.latency.model_latency import describe
from mpq_plugins.latency.timing_store import TimingStore
from mpq_plugins.search_input import candidates_for
from mpq_torch import fx
from mpq_torch.latency import torch_device
from mpq_torch.tests.networks import NETWORKS, Branches, Residual, Shared, network

BITS = {"weight_bits": (4, 7), "activation_bits": (4, 8)}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path))
    return tmp_path


class Pools(nn.Module):
    """Padded, dilated and overhanging pooling of images and signals."""

    input_shape = (4, 11, 10)

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3)
        self.pools = nn.Sequential(
            nn.MaxPool2d(3, 1, padding=1), nn.MaxPool2d(2, 1, dilation=2, ceil_mode=True), nn.AvgPool2d(3, 2, 1, True)
        )
        self.signal = nn.Sequential(nn.MaxPool1d(2, 1, padding=1), nn.AvgPool1d(3, 2), nn.AdaptiveAvgPool1d(1))
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        return self.fc(self.signal(self.pools(self.conv(x)).flatten(2)).squeeze(-1))


def store_of(target):
    return TimingStore(describe(plugins.target(target)))


def bits_of(inventory, weight_bits, activation_bits):
    return {s.name: weight_bits if s.kind == "weight" else activation_bits for s in inventory}


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_every_op_of_every_network_is_measured_on_the_x86_engine(kind):
    model, x = network(kind)
    table = fx.measure_latency(model, x[:1], "torch-x86", **BITS, rounds=1, progress=False)
    inventory = fx.inventory(model, x, target="torch-x86")
    candidates = candidates_for(inventory, plugins.target("torch-x86"), **BITS)
    assert table.holes(inventory, {name: [c.bits for c in kinds] for name, kinds in candidates.items()}) == ()
    assert cost_of(table, inventory, bits_of(inventory, 4, 8)) > 0


def test_bits_that_sit_in_the_same_byte_cost_the_same_and_clipping_costs_extra():
    model, x = network(Residual)
    store = store_of("torch-onednn")
    table = fx.measure_latency(model, x[:1], "torch-onednn", **BITS, rounds=2, store=store, progress=False)
    assert len(set(table.milliseconds["conv1.weight"].values())) == 1
    inventory = fx.inventory(model, x)
    at_seven = cost_of(table, inventory, bits_of(inventory, 7, 8))
    assert cost_of(table, inventory, bits_of(inventory, 4, 8)) == pytest.approx(at_seven)
    assert cost_of(table, inventory, bits_of(inventory, 7, 4)) > at_seven
    assert not any(w.weight and (w.weight_bits, w.activation_bits) != (8, 8) for w in store.seconds)


def test_a_second_measurement_takes_what_the_first_has_kept(cache, monkeypatch):
    model, x = network(Branches)
    arguments = {**BITS, "rounds": 2, "progress": False}
    first = fx.measure_latency(model, x[:1], "torch-x86", **arguments)
    assert len(list((cache / "latency").glob("torch-x86-*.json"))) == 1

    def fail(target, workload):
        raise AssertionError("measured again")

    monkeypatch.setattr(torch_device, "seconds", fail)
    assert fx.measure_latency(model, x[:1], "torch-x86", **arguments).milliseconds == first.milliseconds


@pytest.mark.parametrize("kind", [*NETWORKS, Pools], ids=lambda kind: kind.__name__)
def test_the_operator_that_is_timed_gives_integers_of_the_right_shape(kind):
    model, x = network(kind)
    store = store_of("torch-x86")
    fx.measure_latency(model, x[:1], "torch-x86", 7, 8, rounds=1, store=store, progress=False, batch=2)
    assert {workload.batch for workload in store.seconds if workload.weight} == {2}
    for workload in store.seconds:
        result = torch_device.prepared("torch-x86", "x86", workload)()
        assert tuple(result.shape) == (workload.batch, *workload.output), str(workload)
        assert result.is_quantized == (workload.op != "dequantize")


def test_a_layer_that_is_called_twice_counts_twice():
    model, x = network(Shared)
    store = store_of("torch-x86")
    table = fx.measure_latency(model, x[:1], "torch-x86", 7, 8, rounds=1, store=store, progress=False)
    conv = next(t for w, t in store.timings().items() if w.op == "conv2d")
    inventory = fx.inventory(model, x)
    with_conv = cost_of(table, inventory, bits_of(inventory, 7, 8))
    rest = {key: dict.fromkeys(row, 0.0) if key == "conv.weight" else row for key, row in table.milliseconds.items()}
    without = cost_of(mpq.LatencyTable(rest, overhead_ms=table.overhead_ms), inventory, bits_of(inventory, 7, 8))
    assert with_conv - without == pytest.approx(2 * 1e3 * conv.seconds)


def test_an_op_without_an_integer_kernel_is_named():
    from mpq_plugins.hardware.workload import Workload

    with pytest.raises(mpq.PluginError, match="plug-in 'torch' cannot measure latency: torch has no integer kernel"):
        plugins.host().measure_latency(plugins.target("torch-x86"), Workload("fft", ((4,),), (4,)))


def test_a_torch_model_needs_example_inputs():
    with pytest.raises(mpq.ModelError, match="give example inputs"):
        fx.measure_latency(network(Residual)[0], None, "torch-x86")


def test_ohq_searches_within_a_measured_latency_and_measures_the_model_again():
    model, x = network(Residual, samples=16)
    table = fx.measure_latency(model, x[:1], "torch-x86", (4, 7), (4, 8), rounds=3, progress=False)
    inventory = fx.inventory(model, x)
    fastest = cost_of(table, inventory, bits_of(inventory, 4, 8))
    budget = mpq.Budget(latency_ms=1.001 * fastest, average_weight_bits=6)
    recipe = fx.search(model, [x], "torch-x86", budget, **BITS, method="ohq", latency=table, progress=False)
    assert recipe.costs["latency_ms"] <= 1.001 * fastest
    assert recipe.average_weight_bits <= 6
    assert recipe.predicted["latency_ms"] == pytest.approx(recipe.costs["latency_ms"], rel=1e-3)
    assert recipe.measured["latency_ms"] > 0
    fx.verify(
        fx.quantize(model, recipe, x, [x]), fx.simulate(fx.constrain(model, recipe, [x]), recipe), x
    ).raise_if_different()
    with pytest.raises(mpq.InfeasibleBudget) as error:
        fx.search(
            model,
            [x],
            "torch-x86",
            mpq.Budget(latency_ms=0.5 * fastest),
            **BITS,
            method="ohq",
            latency=table,
            progress=False,
        )
    assert error.value.reachable["latency_ms"] == pytest.approx(fastest)


def test_an_analytic_table_is_searched_and_nothing_is_measured_again():
    model, x = network(Residual, samples=16)
    table = fx.measure_latency(model, x[:1], ANALYTIC, progress=False)
    slowest = cost_of(table, fx.inventory(model, x), bits_of(fx.inventory(model, x), 8, 8))
    budget = mpq.Budget(latency_ms=0.6 * slowest)
    recipe = fx.search(model, [x], ANALYTIC, budget, method="ohq", latency=table, progress=False)
    assert recipe.costs["latency_ms"] <= 0.6 * slowest
    assert not recipe.measured


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_sensitivities_leave_the_model_as_it_was_to_the_bit(kind):
    model, x = network(kind, samples=4)
    before = copy.deepcopy(model.state_dict())
    rates = fx.sensitivity(model, [x], "generic-po2", weight_bits=(4, 8), activation_bits=8, progress=False)
    assert list(rates) == ["kl", "sqnr", "fisher", "mask"]
    weights = {site.name for site in fx.inventory(model, x).weights}
    assert all(set(row) == weights for row in rates.values())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_trial_changes_copies_of_weights_even_when_it_fails():
    from mpq_plugins.graph.sites import take_sites
    from mpq_plugins.search.trial import Trial
    from mpq_torch.reader.reading import read_model

    model, x = network(Residual)
    reading = read_model(model, (x,))
    trial = Trial(reading.graph, take_sites(reading.graph), reading.runner, [(x,)])
    reference = trial.outputs({})[0]

    def fail(values):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        trial.outputs({"conv1.weight": lambda weight: 0 * weight, "fc": fail})
    assert (trial.outputs({})[0] == reference).all()
    assert (trial.outputs({"conv1.weight": lambda weight: 0 * weight})[0] != reference).any()
    assert (trial.outputs({})[0] == reference).all()
    with pytest.raises(mpq.ModelError, match="no site nothing"):
        trial.outputs({"nothing": fail})


def test_synthetic_inputs_come_closer_to_the_batch_norms_than_noise():
    model, _ = network(Residual)

    def distance(x):
        total = 0.0

        def compare(norm, inputs):
            nonlocal total
            mean, var = inputs[0].mean((0, 2, 3)), inputs[0].var((0, 2, 3), unbiased=False)
            total += float((mean - norm.running_mean).square().sum())
            total += float((var.sqrt() - norm.running_var.sqrt()).square().sum())

        hooks = [m.register_forward_pre_hook(compare) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        with torch.no_grad():
            model(x)
        for hook in hooks:
            hook.remove()
        return total

    before = copy.deepcopy(model.state_dict())
    noise = torch.cat(fx.synthetic_inputs(model, (3, 9, 9), 16, "noise"))
    made = torch.cat(fx.synthetic_inputs(model, (3, 9, 9), 16, steps=40, progress=False))
    assert made.shape == noise.shape == (16, 3, 9, 9)
    assert distance(made) < 0.5 * distance(noise)
    assert torch.equal(made, torch.cat(fx.synthetic_inputs(model, (3, 9, 9), 16, steps=40, progress=False)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    recipe = fx.search(model, [made], "generic-po2", mpq.Budget(average_weight_bits=5), method="ohq", progress=False)
    assert recipe.average_weight_bits <= 5


def test_a_model_without_batch_norms_is_told_of_the_ways_out():
    model = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(mpq.ModelError, match='give calibration data, the model from before folding, or source="noise"'):
        fx.synthetic_inputs(model, (4,))
    assert fx.synthetic_inputs(model, (4,), 5, "noise")[0].shape == (5, 4)
    with pytest.raises(mpq.ModelError, match="batch_norm or noise"):
        fx.synthetic_inputs(model, (4,), source="nothing")
    with pytest.raises(mpq.ModelError, match="1 sample"):
        fx.synthetic_inputs(model, (4,), 0, "noise")

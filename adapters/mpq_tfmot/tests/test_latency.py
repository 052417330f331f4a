"""Latency on LiteRT's own kernels: every network has a complete table, and the numbers are those of real calls."""

import numpy as np
import pytest

import mpq_plugins as mpq
import mpq_tfmot
from mpq_plugins import plugins
from mpq_plugins.builtin import litert_device
from mpq_plugins.costs.cost_models import cost_of
from mpq_plugins.exporters.litert.running import interpreter
from mpq_plugins.latency.model_latency import describe
from mpq_plugins.latency.timing_store import TimingStore
from mpq_plugins.search_input import candidates_for
from mpq_tfmot.keras import keras
from mpq_tfmot.tests.networks import NETWORKS, mobile, network, samples

BITS = {"weight_bits": (4, 8), "activation_bits": (4, 8)}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path))
    return tmp_path


def bits_of(inventory, weight_bits, activation_bits):
    return {s.name: weight_bits if s.kind == "weight" else activation_bits for s in inventory}


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-reference"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_op_of_every_network_is_measured_with_and_without_xnnpack(name, target):
    model = network(name)
    table = mpq_tfmot.measure_latency(model, None, target, **BITS, rounds=1, progress=False)
    inventory = mpq_tfmot.inventory(model)
    candidates = candidates_for(inventory, plugins.target(target), **BITS)
    assert table.holes(inventory, {site: [c.bits for c in kinds] for site, kinds in candidates.items()}) == ()
    assert cost_of(table, inventory, bits_of(inventory, 4, 8)) > 0


def test_the_operator_that_is_timed_stands_between_integer_tensors():
    store = TimingStore(describe(plugins.target("litert-po2")))
    mpq_tfmot.measure_latency(mobile(), None, "litert-po2", **BITS, rounds=1, store=store, progress=False, batch=3)
    for workload in store.seconds:
        runner = interpreter(litert_device.flatbuffer(plugins.target("litert-po2"), workload, 2))
        floats = {"input": (np.float32, np.int8), "dequantize": (np.int8, np.float32)}
        wanted = floats.get(workload.op, (np.int8, np.int8))
        for details, kind in zip((runner.get_input_details(), runner.get_output_details()), wanted, strict=True):
            assert {d["dtype"] for d in details} == {kind}, str(workload)
        assert len(runner.get_output_details()) == 2


def test_ohq_searches_within_a_measured_latency_and_measures_the_model_again():
    model = network("residual")
    x = samples(model, 16)
    table = mpq_tfmot.measure_latency(model, None, "litert-po2", **BITS, rounds=3, progress=False)
    inventory = mpq_tfmot.inventory(model)
    limit = cost_of(table, inventory, bits_of(inventory, 8, 8)) * 1.001
    budget = mpq.Budget(latency_ms=limit, average_weight_bits=6)
    recipe = mpq_tfmot.search(model, x, "litert-po2", budget, **BITS, method="ohq", latency=table, progress=False)
    assert recipe.costs["latency_ms"] <= limit
    assert recipe.average_weight_bits <= 6
    assert recipe.measured["latency_ms"] > 0
    on_grid = mpq_tfmot.constrain(model, recipe, x)
    flat = mpq_tfmot.litert.export(on_grid, recipe)
    mpq_tfmot.verify(flat, mpq_tfmot.simulate(on_grid, recipe), x).raise_if_different()
    assert mpq_tfmot.time_models({"exported": flat}, rounds=2)["exported"].seconds > 0


def test_sensitivities_leave_the_model_as_it_was_to_the_bit():
    model = network("branches")
    before = [weight.numpy().copy() for weight in model.weights]
    rates = mpq_tfmot.sensitivity(
        model, samples(model, 8), "generic-po2", weight_bits=(4, 8), activation_bits=(4, 8), progress=False
    )
    assert list(rates) == ["kl", "sqnr", "fisher", "mask"]
    names = {site.name for site in mpq_tfmot.inventory(model)}
    assert all(set(row) == names for row in rates.values())
    assert all(np.array_equal(weight.numpy(), kept) for weight, kept in zip(model.weights, before, strict=True))


def test_synthetic_inputs_come_closer_to_the_batch_norms_than_noise():
    model = network("residual")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    probe = keras.Model(model.inputs, [layer.input for layer in norms])

    def distance(x):
        total = 0.0
        for norm, value in zip(norms, probe(x), strict=True):
            total += np.sum((np.mean(value, (0, 1, 2)) - norm.moving_mean.numpy()) ** 2)
            total += np.sum((np.std(value, (0, 1, 2)) - np.sqrt(norm.moving_variance.numpy())) ** 2)
        return total

    before = [weight.numpy().copy() for weight in model.weights]
    noise = mpq_tfmot.synthetic_inputs(model, 16, "noise")
    made = mpq_tfmot.synthetic_inputs(model, 16, steps=40, progress=False)
    assert made.shape == noise.shape == (16, 9, 9, 3)
    assert distance(made) < 0.5 * distance(noise)
    assert all(np.array_equal(weight.numpy(), kept) for weight, kept in zip(model.weights, before, strict=True))


def test_a_model_without_batch_norms_is_told_of_the_ways_out():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(mpq.ModelError, match=r"give calibration data, .* or source="):
        mpq_tfmot.synthetic_inputs(model)
    assert mpq_tfmot.synthetic_inputs(model, 5, "noise").shape == (5, 4)
    with pytest.raises(mpq.ModelError, match="batch_norm or noise"):
        mpq_tfmot.synthetic_inputs(model, source="nothing")

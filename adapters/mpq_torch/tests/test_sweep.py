"""The sweep, run on torch's tensors, against moments measured on whole runs of both models."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins import Grid, plugins
from mpq_plugins.errors import AccuracyWarning, NonFiniteValues
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.rounding.bias_correction import quantize_layer
from mpq_plugins.rounding.moments.layer_moments import LayerMoments
from mpq_plugins.search import sweep
from mpq_plugins.search.kept import Kept
from mpq_plugins.search.sweep import compensate
from mpq_torch import fx
from mpq_torch.reader.reading import read_model
from mpq_torch.tests.networks import Crossed, Mobile, Residual, Shared, network


class Skip(nn.Module):
    """A convolution, and a second one whose output is added to what it read."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.a(x))
        return self.b(x) + x


TARGET = plugins.target("torch-x86")


def prepared(model, x, bits=4):
    """The model's reading, its sites, and grids of threshold 2 (weights 1)."""
    reading = read_model(model.eval(), (x,))
    sites = take_sites(reading.graph)
    grids = {s.name: Grid.power_of_two(bits, 0 if s.kind == "weight" else 1, s.signed) for s in sites.inventory}
    return reading, sites, grids


def swept(reading, sites, grids, chunks):
    return compensate(reading.graph, sites.grid_of, grids, TARGET, reading.runner, chunks, False)


def test_a_layer_is_solved_from_its_quantized_input_and_the_float_output_with_its_residual():
    torch.manual_seed(0)
    model, x = Skip(), torch.randn(10, 2, 6, 6)
    reading, sites, grids = prepared(model, x)
    graph = swept(reading, sites, grids, [(x[:6],), (x[6:],)])
    simulation = Simulation(QuantizedGraph(graph, grids, sites.grid_of, TARGET), reading.runner)
    quantized = simulation.sites((x,))["a"]
    with torch.no_grad():
        source = F.relu(model.a(x))
        output = model.b(source)
    wished = output + source - quantized
    windows = F.unfold(quantized, 3, padding=1).transpose(0, 1).flatten(1).t()
    moments = LayerMoments.measure(windows, wished.transpose(0, 1).flatten(1).t())
    weight, bias = quantize_layer(
        model.b.weight.detach().flatten(1).numpy(),
        model.b.bias.detach().numpy(),
        moments,
        grids["b.weight"],
        grids["a"].steps[0],
    )
    np.testing.assert_array_equal(graph["b"].weight.reshape(3, -1), weight)
    np.testing.assert_allclose(graph["b"].bias, bias, atol=0)
    without = LayerMoments.measure(windows, output.transpose(0, 1).flatten(1).t())
    assert not np.allclose(without.cross, moments.cross, atol=1e-3)


@pytest.mark.parametrize("kind", [Residual, Mobile, Shared, Crossed])
def test_every_weight_and_bias_that_is_returned_lies_on_its_grid(kind):
    model, x = network(kind, samples=8)
    reading, sites, grids = prepared(model, x, bits=8)
    graph = swept(reading, sites, grids, [(x,)])
    for node in graph.layers:
        codes = node.weight / grids[node.weight_site].steps[0]
        assert np.array_equal(codes, np.rint(codes))
        steps = node.bias / (grids[node.weight_site].steps[0] * grids[sites.grid_of[node.inputs[0]]].steps[0])
        assert np.array_equal(steps, np.rint(steps))


def test_a_shared_layer_is_solved_once(monkeypatch):
    model, x = network(Shared)
    reading, sites, grids = prepared(model, x)
    solved = []
    monkeypatch.setattr(sweep, "quantize_layer", lambda *a, name, **k: solved.append(name) or quantize_layer(*a, **k))
    graph = swept(reading, sites, grids, [(x,)])
    assert solved == ["conv", "fc"]
    first, second = (node for node in graph.layers if node.weight_site == "conv.weight")
    assert np.array_equal(first.weight, second.weight)


def test_an_add_that_broadcasts_is_no_residual_of_its_smaller_operand():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            x = self.a(x)
            return x + self.b(x.mean((2, 3), keepdim=True))

    x = torch.randn(4, 2, 6, 6)
    graph = swept(*prepared(Gate(), x), [(x,)])
    assert all(np.array_equal(node.weight, np.rint(node.weight * 8) / 8) for node in graph.layers)


def test_a_convolution_is_rounded_by_as_many_positions_as_are_asked_for():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1)), torch.randn(2, 2, 128, 128)
    reading, sites, grids = prepared(model, x)
    (layer,) = reading.graph.layers
    simulation = Simulation(QuantizedGraph(reading.graph, grids, sites.grid_of, TARGET), reading.runner)
    source = sites.grid_of[layer.inputs[0]]
    windows = F.unfold(simulation.sites((x,))[source], 3, padding=1).transpose(0, 1).flatten(1).t()
    with torch.no_grad():
        moments = LayerMoments.measure(windows, model(x).transpose(0, 1).flatten(1).t())
    grid, rows = grids[layer.weight_site], layer.weight.astype(np.float32).reshape(3, -1)
    everywhere, _ = quantize_layer(rows, layer.bias.astype(np.float32), moments, grid, grids[source].steps[0])

    def weights(**given):
        found = compensate(reading.graph, sites.grid_of, grids, TARGET, reading.runner, [(x,)], progress=False, **given)
        return found[layer.name].weight.reshape(3, -1)

    np.testing.assert_array_equal(weights(positions=x[:, 0].numel()), everywhere)
    assert not np.array_equal(weights(positions=32), everywhere)


def test_neither_the_cut_of_the_data_into_chunks_nor_a_limit_of_memory_changes_a_code(monkeypatch):
    model, x = network(Residual, samples=8)
    prepared_once = prepared(model, x)
    whole, parts = (swept(*prepared_once, chunks) for chunks in ([(x,)], [(x[:3],), (x[3:],)]))
    monkeypatch.setattr(sweep, "Kept", lambda runner, limit: Kept(runner, limit=1000))
    from_files = swept(*prepared_once, [(x[:3],), (x[3:],)])
    for a, b, c in zip(whole.layers, parts.layers, from_files.layers, strict=True):
        assert np.array_equal(a.weight, b.weight)
        assert np.array_equal(a.bias, b.bias)
        assert np.array_equal(a.weight, c.weight)
        assert np.array_equal(a.bias, c.bias)


def test_an_activation_that_overflows_is_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        model[1].weight.fill_(3e38)
    x = torch.full((4, 2), 1e3)
    with pytest.raises(NonFiniteValues, match="site '1' is NaN or infinite on the calibration data"):
        swept(*prepared(model, x), [(x,)])


@pytest.mark.parametrize(("threshold", "warned"), [(3, False), (20, True)])
def test_outputs_that_have_nothing_of_the_float_model_s_are_said(threshold, warned):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)).eval(), torch.randn(64, 6)
    recipe = fx.search(model, [x], "generic-po2", weight_bits=8, activation_bits=8)
    grids = {"0": Grid.power_of_two(8, threshold, signed=False)}
    sites = tuple(replace(entry, grid=grids.get(entry.site, entry.grid)) for entry in recipe.sites)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fx.constrain(model, replace(recipe, sites=sites), [x])
    said = [str(each.message) for each in caught if issubclass(each.category, AccuracyWarning)]
    assert len(said) == warned
    assert all("'2' is as far from the float model's outputs" in sentence for sentence in said)


def test_outputs_that_hardly_vary_say_nothing_of_bits():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)).eval(), torch.randn(64, 6)
    with torch.no_grad():
        model[2].weight.mul_(1e-5)
    recipe = fx.search(model, [x], "generic-po2", weight_bits=8, activation_bits=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AccuracyWarning)
        fx.constrain(model, recipe, [x])

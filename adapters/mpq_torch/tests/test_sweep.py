"""The sweep against moments measured on whole runs of both models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins import Grid, plugins
from mpq_plugins.bias_correction import quantize_layer
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.moments import LayerMoments
from mpq_torch import sweep
from mpq_torch.canonical import canonicalize
from mpq_torch.constrained import put_on_grids
from mpq_torch.inventory import locate_sites
from mpq_torch.simulation import SimulatedLayer, build_simulation
from mpq_torch.sweep import LockStep, compensate
from mpq_torch.tests.networks import Crossed, Mobile, Residual, Shared, network


class Skip(nn.Module):
    """A convolution, and a second one whose output is added to what it read."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.a(x))
        return self.b(x) + x


def prepared(model, bits=4, grids=None):
    """Float model, its simulation at nearest rounding, and grids of threshold 2 (weights 1)."""
    exact = canonicalize(model.eval())
    sites = locate_sites(exact)
    grids = grids or {
        s.name: Grid.power_of_two(bits, 0 if s.kind == "weight" else 1, s.signed) for s in sites.inventory
    }
    on_grid = canonicalize(model)
    positions = locate_sites(on_grid)
    put_on_grids(on_grid, positions.grid_of, grids)
    simulation = build_simulation(on_grid, grids, positions.grid_of, plugins.target("torch-x86"))
    return exact, simulation, grids


def observed(graph, x):
    """Node name -> value, of a whole run."""
    values = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n):
            values[n.name] = super().run_node(n)
            return values[n.name]

    with torch.no_grad():
        Recorder(graph).run(x)
    return values


def test_a_layer_is_solved_from_its_quantized_input_and_the_float_output_with_its_residual():
    torch.manual_seed(0)
    model, x = Skip(), torch.randn(10, 2, 6, 6)
    exact, simulation, grids = prepared(model)
    rounded = compensate(exact, simulation, [(x[:6],), (x[6:],)], grids)
    real, quantized = observed(exact.graph, x), observed(simulation, x)
    node = next(n for n in exact.graph.graph.nodes if n.target == "b")
    source = node.all_input_nodes[0].name
    wished = real[node.name] + real[source] - quantized[source]
    windows = F.unfold(quantized[source].float(), 3, padding=1).transpose(0, 1).flatten(1).t()
    moments = LayerMoments.measure(windows, wished.transpose(0, 1).flatten(1).t())
    weight, bias = quantize_layer(
        model.b.weight.detach().flatten(1).numpy(),
        model.b.bias.detach().numpy(),
        moments,
        grids["b.weight"],
        grids["a"].steps[0],
    )
    np.testing.assert_array_equal(rounded["b"][0].flatten(1).numpy(), weight)
    np.testing.assert_allclose(rounded["b"][1].numpy(), bias, atol=0)
    without = LayerMoments.measure(windows, real[node.name].transpose(0, 1).flatten(1).t())
    assert not np.allclose(without.cross, moments.cross, atol=1e-3)


@pytest.mark.parametrize("kind", [Residual, Mobile, Shared, Crossed])
def test_the_simulation_holds_what_is_returned_and_every_channel_its_float_mean(kind):
    model, x = network(kind, samples=8)
    exact, simulation, grids = prepared(model, bits=8)
    rounded = compensate(exact, simulation, [(x,)], grids)
    assert set(rounded) == {str(n.target) for n, m in exact.nodes() if hasattr(m, "weight")}
    simulated = {n: m for n, m in simulation.named_modules() if isinstance(m, SimulatedLayer)}
    for name, module in simulated.items():
        weight, bias = rounded[name.removesuffix("__simulated").partition("__call")[0]]
        torch.testing.assert_close(module.layer.weight.double(), weight.double(), atol=0, rtol=0)
        torch.testing.assert_close(module.layer.bias.double(), bias.double(), atol=0, rtol=0)
        codes = weight.numpy() / module.weight_grid.steps[0]
        assert np.array_equal(codes, np.rint(codes))


def test_a_shared_layer_is_solved_once(monkeypatch):
    model, x = network(Shared)
    exact, simulation, grids = prepared(model)
    solved = []
    monkeypatch.setattr(sweep, "quantize_layer", lambda *a, name, **k: solved.append(name) or quantize_layer(*a, **k))
    compensate(exact, simulation, [(x,)], grids)
    assert solved == ["conv", "fc"]
    calls = [m.layer for n, m in simulation.named_modules() if isinstance(m, SimulatedLayer) and "conv" in n]
    assert len(calls) == 2
    assert torch.equal(calls[0].weight.float(), calls[1].weight.float())


def test_an_add_that_broadcasts_is_no_residual_of_its_smaller_operand():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 1)

        def forward(self, x):
            x = self.a(x)
            return x + self.b(x.mean((2, 3), keepdim=True))

    exact, simulation, grids = prepared(Gate())
    assert set(compensate(exact, simulation, [(torch.randn(4, 2, 6, 6),)], grids)) == {"a", "b"}


def test_an_argument_that_the_batch_leaves_out_keeps_its_default():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x, scale=3.0):
            return self.fc(x) * scale

    graph, x = canonicalize(Scaled().eval()).graph, torch.randn(4, 3)
    with torch.no_grad():
        steps = LockStep(graph, [(x,)])
        names = [node.name for node in graph.graph.nodes if node.op != "output"]
        for name in names:
            steps.run(name)
        assert torch.equal(steps.values[names[-1]][0], graph(x))


def test_lock_step_computes_every_batch_and_keeps_no_value_past_its_last_reader():
    model, x = network(Residual)
    graph = canonicalize(model).graph
    steps = LockStep(graph, [(x[:2],), (x[2:],)])
    nodes = [node for node in graph.graph.nodes if node.op != "output"]
    wanted = observed(graph, x)
    with torch.no_grad():
        for index, node in enumerate(nodes):
            steps.run(node.name)
            if isinstance(wanted[node.name], torch.Tensor):
                torch.testing.assert_close(torch.cat(steps.values[node.name]), wanted[node.name])
            still_read = {n.name for n in nodes[: index + 1] if any(u not in nodes[: index + 1] for u in n.users)}
            assert set(steps.values) == still_read


def test_an_activation_that_overflows_is_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).eval()
    exact, simulation, grids = prepared(model)
    with torch.no_grad():
        exact.graph.get_submodule("1").weight.fill_(3e38)
    with pytest.raises(NonFiniteValues, match="site 1 is NaN or infinite on the calibration data"):
        compensate(exact, simulation, [(torch.full((4, 2), 1e3),)], grids)

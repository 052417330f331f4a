"""A model in the other framework's layout: each framework computes the other one's codes, bit for bit."""

import numpy as np
import pytest
import torch

from mpq_plugins import Grid, plugins
from mpq_plugins.graph.layout import quantized_in_layout
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.graph.sites import take_sites
from mpq_tfmot.reader.reading import read_model as read_keras
from mpq_tfmot.runner.tensorflow_runner import TensorflowRunner
from mpq_tfmot.tests.networks import NETWORKS as KERAS_NETWORKS
from mpq_tfmot.tests.networks import samples
from mpq_torch.reader.reading import read_model as read_torch
from mpq_torch.runner.torch_runner import TorchRunner
from mpq_torch.tests.networks import NETWORKS as TORCH_NETWORKS
from mpq_torch.tests.networks import network

TARGET = "onnxruntime"


def on_grids(graph):
    sites = take_sites(graph)
    grids = {}
    for index, site in enumerate(sites.inventory):
        exponent = 0 if site.kind == "weight" else 2
        bits = 8 if site.group else 3 + index % 6
        grids[site.name] = Grid.power_of_two(bits, exponent, site.kind == "weight" or site.signed)
    return QuantizedGraph.of(graph, sites, grids, plugins.target(TARGET))


def check(own, other, arguments):
    """Both simulations of one model, of which the second one has a graph in the other layout."""
    moved, orders = quantized_in_layout(own.quantized, other.layout, keep_ends=True)
    assert moved.graph.layout == other.layout
    feeds = [np.asarray(argument, np.float32) for argument in arguments]
    wanted = own.run([own.runner.tensor(feed) for feed in feeds])
    got = Simulation(moved, other).run([other.tensor(feed) for feed in feeds])
    checked = 0
    for node in own.graph.nodes:
        if node.name in own.quantized.grid_of:
            value = own.runner.numpy(wanted[node.name])
            value = orders[node.name].of(value)
            np.testing.assert_array_equal(other.numpy(got[node.name]), value, node.name)
            checked += 1
    assert checked > 2


@pytest.mark.parametrize("kind", KERAS_NETWORKS)
def test_torch_computes_a_keras_model_in_its_own_layout(kind):
    model = KERAS_NETWORKS[kind]()
    reading = read_keras(model)
    x = samples(model)
    floats = {name: _zeros(reading.graph[name]) for name in reading.graph.float_ops}
    arguments = list(x) if isinstance(x, (list, tuple)) else [x]
    check(Simulation(on_grids(reading.graph), reading.runner), TorchRunner(floats), arguments)


@pytest.mark.parametrize("kind", TORCH_NETWORKS)
def test_tensorflow_computes_a_torch_model_in_its_own_layout(kind):
    model, x = network(kind, samples=5)
    reading = read_torch(model, [x])
    floats = {name: _zeros(reading.graph[name]) for name in reading.graph.float_ops}
    with torch.no_grad():
        check(Simulation(on_grids(reading.graph), reading.runner), TensorflowRunner(floats), [x])


def _zeros(node):
    """What stands in for a float part, which the other framework cannot compute, and nothing on grids reads."""
    return lambda *inputs: inputs[0] * 0.0


def test_few_transposes_are_left():
    graph = read_keras(KERAS_NETWORKS["mobile"]()).graph
    moved, _ = quantized_in_layout(on_grids(graph), "NCHW", keep_ends=True)
    added = [node for node in moved.graph.nodes if node.op == "transpose" and node.name not in graph]
    assert len(added) <= 2

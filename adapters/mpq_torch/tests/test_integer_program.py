"""Programs made from graphs of torch models compute what their simulation computes, code by code."""

import numpy as np
import pytest
import torch

from mpq_plugins import plugins
from mpq_plugins.graph.node import RAW
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.integers import input_codes, trace
from mpq_plugins.integers.from_graph import program_of
from mpq_plugins.integers.tests.random_grids import random_grids
from mpq_torch.reader.reading import read_model
from mpq_torch.tests.random_networks import RandomNetwork

TARGETS = [
    "torch-x86", "torch-onednn", "torch-qnnpack", "torch-pt2e", "onnxruntime", "generic-po2",
    "generic-po2-per-channel", "litert-po2", "litert-po2-reference",
]  # fmt: skip


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(6))
def test_every_tensor_of_a_random_network_has_the_simulations_codes_on_every_runtime(seed, target):
    rng = np.random.default_rng(seed)
    model = RandomNetwork(seed).eval()
    x = torch.from_numpy(rng.normal(size=(5, *model.input_shape)).astype(np.float32) * 2)
    reading = read_model(model, [x])
    sites = take_sites(reading.graph)
    grids = random_grids(sites.inventory, rng)
    quantized = QuantizedGraph.of(reading.graph, sites, grids, plugins.target(target))
    program = program_of(quantized, "random", "torch")
    with torch.no_grad():
        found = Simulation(quantized, reading.runner).run([x])
    codes = trace(program, input_codes(program, x.numpy()))
    compared = {node.site: node for node in reading.graph.nodes if node.op not in RAW and node.site in codes}
    assert set(program.outputs) <= set(compared)
    for name, node in compared.items():
        wanted = found[node.name].numpy()
        assert np.array_equal(np.broadcast_to(codes[name], wanted.shape), wanted), f"{name} of {model.plan}"

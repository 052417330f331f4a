"""Programs made from graphs of Keras models compute what their simulation computes, code by code."""

import numpy as np
import pytest

from mpq_plugins import plugins
from mpq_plugins.graph.node import RAW
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.integers import input_codes, trace
from mpq_plugins.integers.from_graph import program_of
from mpq_plugins.integers.tests.random_grids import random_grids
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.tests.networks import samples
from mpq_tfmot.tests.random_networks import random_network

TARGETS = [
    "litert-po2",
    "litert-po2-reference",
    "litert-po2-optimized",
    "onnxruntime",
    "generic-po2",
    "generic-po2-per-channel",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(6))
def test_every_tensor_of_a_random_network_has_the_simulations_codes_on_every_runtime(seed, target):
    rng = np.random.default_rng(seed)
    model = random_network(seed)
    x = 2 * samples(model, 5, seed)
    reading = read_model(model)
    sites = take_sites(reading.graph)
    grids = random_grids(sites.inventory, rng)
    quantized = QuantizedGraph.of(reading.graph, sites, grids, plugins.target(target))
    program = program_of(quantized, "random", "tensorflow")
    found = Simulation(quantized, reading.runner).run([tf.constant(x)])
    codes = trace(program, input_codes(program, x))
    compared = {node.site: node for node in reading.graph.nodes if node.op not in RAW and node.site in codes}
    assert set(program.outputs) <= set(compared)
    for name, node in compared.items():
        assert np.array_equal(codes[name], found[node.name].numpy()), name

"""One network in torch and in Keras, on one recipe: equal codes of the graphs, and equal results of the files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from integration_tests.litert import keras_twin
from integration_tests.litert.cases import IMAGES, Small
from integration_tests.litert.networks import ResNet, images, settled
from mpq_plugins.exporters.litert.running import run_litert
from mpq_plugins.graph.layout import quantized_in_layout, to_layout
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.recipe.recipe import Recipe
from mpq_tfmot import litert as keras_litert
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.fitting import read_quantized as read_keras
from mpq_tfmot.reader.reading import read_model
from mpq_torch import fx, litert
from mpq_torch.reader.fitting import read_quantized as read_torch


def flat_model():
    return Small(
        lambda m, x: m.b(torch.flatten(F.max_pool2d(F.relu(m.a(x)), 2), 1)), a=nn.Conv2d(3, 8, 3), b=nn.Linear(96, 5)
    )


MOVED = ("pad", "reshape", "transpose")
"""Ops after which the twins lie differently: padded channels, and columns of flattened images."""
TWINS = {
    "resnet": (ResNet, keras_twin.resnet, images()),
    "flattened": (flat_model, lambda: keras_twin.flattening(5), IMAGES),
}


@pytest.fixture(scope="module", params=TWINS)
def twins(request):
    """The torch model, its Keras twin, and images for torch."""
    make, make_twin, x = TWINS[request.param]
    model = settled(make())
    return model, keras_twin.take_weights(make_twin(), model), x


def recipes(model, twin, x, bits):
    """A recipe for the torch model, and the same for its twin."""
    recipe = fx.search(model, [x], "litert-po2", weight_bits=bits[0], activation_bits=bits[1], progress=False)
    sites = take_sites(read_model(twin).graph, {"x": recipe["x"].signed}).inventory
    grids = {}
    for site in sites:  # what pads in front of a strided layer is a site of the twin's alone, on the grid of its group
        names = [other.name for other in sites if other.name == site.name or (site.group and other.group == site.group)]
        grid = next(recipe[name] for name in (site.name, *names) if name in recipe)
        grids[site.name] = grid if grid.axis is None else replace(grid, axis=site.channel_axis)
    return recipe, Recipe.from_inventory(sites, grids, recipe.target, "the twin's")


@pytest.mark.parametrize("bits", [(8, 8), (4, 6), (2, 3)])
def test_a_torch_graph_channels_last_computes_the_codes_of_the_keras_graph(twins, bits):
    model, twin, x = twins
    ours, theirs = recipes(model, twin, x, bits)
    _, quantized = read_torch(model, ours, (x,))
    laid, _ = quantized_in_layout(quantized, "NHWC")
    reading, wanted = read_keras(twin, theirs)
    given = tf.constant(keras_twin.as_array(x))
    got, expected = (Simulation(q, reading.runner).run([given]) for q in (laid, wanted))
    shared = [node.name for node in wanted.graph.nodes if node.name in laid.graph and node.op not in MOVED]
    assert len(shared) >= 5
    for name in shared:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)


@pytest.mark.parametrize("bits", [(8, 8), (4, 6), (2, 3)])
def test_the_file_of_a_torch_model_gives_what_that_of_its_keras_twin_gives(twins, bits):
    model, twin, x = twins
    ours, theirs = recipes(model, twin, x, bits)
    given = keras_twin.as_array(1.5 * x)
    mine, its = litert.export(model, ours, x), keras_litert.export(twin, theirs)
    np.testing.assert_array_equal(run_litert(mine, given)[0], run_litert(its, given)[0])


def test_a_graph_goes_to_the_other_layout_and_back(twins):
    model, twin, x = twins
    recipe, _ = recipes(model, twin, x, (8, 8))
    reading, quantized = read_torch(model, recipe, (x,))
    laid, _ = quantized_in_layout(quantized, "NHWC")
    back, _ = quantized_in_layout(laid, "NCHW")
    got = Simulation(back, reading.runner).run([x], back.graph.outputs)
    wanted = Simulation(quantized, reading.runner).run([x], back.graph.outputs)
    for name in back.graph.outputs:
        torch.testing.assert_close(got[name], wanted[name], rtol=0, atol=0)
    assert to_layout(laid.graph, "NHWC") is laid.graph

"""Layers in exact arithmetic: close to the float layer, and equal in every order of samples and of sums."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mpq_plugins.graph.evaluation import FloatModel
from mpq_plugins.graph.node import ARGUMENT
from mpq_plugins.search.exact_float import exact_output
from mpq_torch.reader.reading import read_model

LAYERS = [
    nn.Conv2d(5, 6, 3, padding=1),
    nn.Conv2d(5, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False),
    nn.Conv2d(5, 6, 3, padding="same"),
    nn.Conv2d(5, 5, 3, stride=2, padding=1, groups=5),
    nn.Conv2d(5, 10, 3, groups=5),
    nn.Conv2d(5, 40, 1),
    nn.ConvTranspose2d(5, 3, 3, stride=2, padding=1),
    nn.Sequential(nn.Flatten(), nn.Linear(5 * 14 * 11, 7)),
    nn.Sequential(nn.Conv2d(5, 5, 1), nn.Hardswish()),
    nn.Sequential(nn.Conv2d(5, 5, 1), nn.AvgPool2d(3, 2)),
]


def outputs(model, batches):
    reading = read_model(model, [batches[0]])
    exact = FloatModel(reading.graph, reading.runner)
    values = {}
    with torch.no_grad():
        for node in reading.graph.nodes:
            if node.op == ARGUMENT:
                values[node.name] = list(batches)
                continue
            chunks = list(zip(*(values[name] for name in node.inputs), strict=True))
            largest = max(float(x.abs().max()) for xs in chunks for x in xs)
            give = exact_output(exact, node, largest)
            values[node.name] = [exact.clamped(node, give(xs)) for xs in chunks]
    return torch.cat(values[reading.graph.outputs[0]])


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_exact_output_is_the_float_output_but_for_rounding(layer):
    torch.manual_seed(0)
    model, x = nn.Sequential(layer).eval(), torch.randn(9, 5, 14, 11) * 3
    with torch.no_grad():
        wanted = model(x)
    torch.testing.assert_close(outputs(model, [x]), wanted, atol=1e-4 * float(wanted.abs().max()), rtol=0)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_cut_into_batches_changes_no_bit(layer):
    torch.manual_seed(0)
    model, x = nn.Sequential(layer).eval(), torch.randn(9, 5, 14, 11)
    assert torch.equal(outputs(model, [x]), outputs(model, x.split([1, 5, 3])))


@pytest.mark.parametrize("layer", [*LAYERS[:3], LAYERS[5]], ids=str)
def test_the_order_of_input_channels_changes_no_bit(layer):
    torch.manual_seed(0)
    x = torch.randn(4, 5, 14, 11)
    order = torch.tensor([3, 0, 4, 1, 2])
    other = type(layer)(5, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    other.weight.data = layer.weight.data[:, order].clone()
    other.bias = layer.bias
    whole, permuted = nn.Sequential(layer).eval(), nn.Sequential(other).eval()
    assert torch.equal(outputs(whole, [x]), outputs(permuted, [x[:, order]]))

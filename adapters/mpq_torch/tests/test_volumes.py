"""Networks of volumes, as convolutions and poolings of images."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from integration_tests.records.runtimes import check_runtime
from mpq_plugins import plugins
from mpq_plugins.graph.shares import macs_of
from mpq_torch import fx
from mpq_torch.reader.reading import read_model
from mpq_torch.reader.writing import write_module


class Volumes(nn.Module):
    """Convolutions with strides, dilation, in groups and called twice, a norm, and all poolings."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(2, 4, (3, 2, 3), (2, 1, 1), (1, 0, 1), bias=False)
        self.norm, self.again = nn.BatchNorm3d(4), nn.Conv3d(4, 4, 3, padding=(2, 1, 1), dilation=(2, 1, 1), groups=2)
        self.largest = nn.MaxPool3d((2, 3, 3), (1, 2, 2), (1, 1, 1))
        self.average, self.last = nn.AvgPool3d((2, 2, 1), 1, (1, 1, 0)), nn.Linear(4, 3)
        nn.init.uniform_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x):
        y = F.relu(self.norm(self.first(x)))
        y = self.largest(F.relu(self.again(self.again(y))))
        y = F.interpolate(self.average(y), scale_factor=(1, 2, 2))
        return self.last(F.adaptive_avg_pool3d(y, 1).flatten(1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Volumes().eval()


@pytest.mark.parametrize("target", ["generic-po2", "torch-x86"])
def test_they_compute_what_they_are_in_float_with_as_many_products(model, target):
    x = torch.randn(2, 2, 5, 6, 5)
    reading = read_model(model, (x,), target=plugins.target(target))
    assert torch.allclose(write_module(reading)(x), model(x), atol=1e-5)
    assert not reading.graph.float_ops
    first, again = 4 * 2 * 18 * (3 * 5 * 5), 2 * (4 * 2 * 27 * (3 * 5 * 5))
    assert sum(macs_of(node, reading.graph) for node in reading.graph.layers) == first + again + 4 * 3


def test_they_run_as_simulated(model):
    x = torch.randn(16, 2, 5, 6, 5)
    recipe = fx.search(model, [x], "generic-po2", weight_bits=8, activation_bits=8, progress=False)
    on_grid = fx.constrain(model, recipe, [x])
    wanted = model(x).detach()
    off = fx.simulate(on_grid, recipe, example_inputs=x)(x).detach() - wanted
    assert float(off.abs().mean()) < 0.1 * float(np.std(wanted.numpy()))
    check_runtime(on_grid, recipe, (x,), (x[:3],))


TRANSPOSED = {
    "kernels beside one another": nn.ConvTranspose3d(4, 6, 2, 2),
    "overlapping kernels": nn.ConvTranspose3d(4, 6, 3, 2, 1, 1, bias=False),
    "groups": nn.ConvTranspose3d(4, 6, (3, 4, 2), (1, 2, 3), (1, 0, 1), groups=2),
    "dilation and more zeros": nn.ConvTranspose3d(4, 6, 3, 2, 0, 1, dilation=(2, 1, 1)),
    "elements that are cut off": nn.ConvTranspose3d(4, 6, 2, 1, 1),
}


@pytest.mark.parametrize("kind", TRANSPOSED)
@pytest.mark.parametrize("target", ["generic-po2", "torch-x86"])
def test_transposed_convolutions_of_volumes_are_plain_ones_on_grids(kind, target):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(2, 4, 1), TRANSPOSED[kind], nn.BatchNorm3d(6), nn.ReLU()).eval()
    x = torch.randn(2, 2, 3, 4, 5)
    reading = read_model(model, (x,), target=plugins.target(target))
    assert not reading.graph.float_ops
    assert torch.allclose(write_module(reading)(x), model(x), atol=1e-5)


@pytest.mark.parametrize("target", ["generic-po2", "litert-po2"])
def test_a_network_of_them_runs_as_simulated(target):
    torch.manual_seed(0)
    up = nn.ConvTranspose3d(4, 3, 3, 2, 1, 1)
    model = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), up, nn.ReLU(), nn.Conv3d(3, 2, 1)).eval()
    x = torch.randn(4, 1, 2, 3, 3)
    recipe = fx.search(model, [x], target, weight_bits=8, activation_bits=8, progress=False)
    check_runtime(fx.constrain(model, recipe, [x]), recipe, (x,), (x[:3],))

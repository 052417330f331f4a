"""Functions that are several operators in one, and writing into parts of tensors, read as what they are made of."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from integration_tests.bits import widest
from mpq_plugins import plugins
from mpq_plugins.graph.node import FLOAT
from mpq_torch import fx
from mpq_torch.calling.batches import Batch
from mpq_torch.reader.check import check_reading
from mpq_torch.reader.reading import read_model


class Between(nn.Module):
    """A function, or a layer, between two convolutions."""

    def __init__(self, between):
        super().__init__()
        self.first, self.between, self.last = nn.Conv2d(2, 4, 1), between, nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(self.between(self.first(x)))


def written(write):
    """A copy that something is written into."""

    def function(x):
        y = x.clone()
        write(y, x)
        return y

    return function


def shifted_channels(x):
    y = torch.empty_like(x)
    y[:, :1, :-1] = x[:, :1, 1:]
    y[:, :1, -1] = 0.0
    y[:, 1:] = x[:, 1:]
    return y


def interleaved(x):
    y = torch.empty_like(x)
    y[..., 0::2], y[..., 1::2] = x[..., :3], x[..., 3:] * 0.5
    return y


def placed(x):
    rows, columns = x.shape[2:]
    places = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return x + torch.stack(places, 0).repeat_interleave(2, 0).expand(1, 4, rows, columns) * 0.5


def stuffed(x):
    y = x.new_zeros(len(x), 4, 12, 12)
    y[:, :, ::2, 1::2] = x
    return y


def running(norm):
    norm(torch.randn(8, 4, 6, 6) * 3 + 1)
    return norm


FUNCTIONS = {
    "InstanceNorm2d by running statistics": running(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
    "instance_norm by running statistics": lambda x: F.instance_norm(
        x, torch.arange(4.0), torch.ones(4) * 3, use_input_stats=False
    ),
    "every second column": interleaved,
    "places by number": placed,
    "zeros between": stuffed,
    "cosine_similarity": lambda x: x * F.cosine_similarity(x, x.flip(1), dim=1)[:, None],
    "Softmin": nn.Softmin(1),
    "normalize by sums": lambda x: F.normalize(x, p=1),
    "RReLU": nn.RReLU(),
    "softplus": lambda x: F.softplus(x, beta=2),
    "Softplus": nn.Softplus(beta=0.5),
    "hypot": lambda x: torch.hypot(x, x.flip(1)),
    "fmax": lambda x: torch.fmax(x, x.flip(1)),
    "fmin": lambda x: x.fmin(x.flip(1)),
    **{f"rot90 {k}": (lambda x, k=k: torch.rot90(x, k, (2, 3))) for k in range(4)},
    "a slice": written(lambda y, x: y.__setitem__((slice(None), slice(0, 2)), x[:, 0:2] * 2)),
    "an index": written(lambda y, x: y[:, 1].add_(x[:, 2])),
    "a number": written(lambda y, x: y.__setitem__((slice(None), slice(None), 0), 0.0)),
    "a region": written(lambda y, x: y.__setitem__((slice(None), slice(1, 3), slice(1, -1)), x[:, :2, 1:-1])),
    "channels in time": shifted_channels,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_composition_has_nothing_in_float_and_computes_what_the_model_does(name):
    torch.manual_seed(0)
    model, x = Between(FUNCTIONS[name]).eval(), torch.randn(3, 2, 6, 6)
    reading = read_model(model, (x,), target=plugins.target("litert-po2"))
    assert [node.name for node in reading.graph.nodes if node.op == FLOAT] == []
    check_reading(model, reading, Batch((x,)))


def test_a_map_of_places_that_is_the_same_for_every_sample_is_a_constant():
    theta = torch.tensor([[[0.9, 0.1, 0.0], [-0.1, 0.9, 0.1]]])
    model = Between(lambda x: F.grid_sample(x, F.affine_grid(theta.repeat(len(x), 1, 1), list(x.size())))).eval()
    x = torch.randn(3, 2, 6, 6)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=widest("torch-x86"))
    assert recipe.float_ops == ("grid_sample",)
    fx.verify(fx.quantize(model, recipe, x), model, [x], recipe).raise_if_different()


def test_a_field_of_several_results_is_named_where_it_is_taken_and_not_where_it_is_given_to():
    model = Between(lambda x: torch.topk(x, 4, dim=1).values).eval()
    x = torch.randn(3, 2, 6, 6)
    names = [node.name for node in read_model(model, (x,)).graph.nodes]
    assert "last" in names
    assert not any(name.startswith("last.") for name in names)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=widest("torch-x86"))
    fx.verify(fx.quantize(model, recipe, x), model, [x], recipe).raise_if_different()


def test_truth_values_that_a_product_reads_enter_the_grids_as_numbers():
    model, x = Between(lambda x: x * (x > 0)).eval(), torch.randn(3, 2, 6, 6)
    recipe = fx.search(model, [x], "torch-x86", weight_bits=widest("torch-x86"))
    fx.verify(fx.quantize(model, recipe, x), model, [x], recipe).raise_if_different()

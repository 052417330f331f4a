"""Single ops behind a linear as ONNX, against torch: what stays float, what moves elements, how shapes grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins import Grid, plugins
from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.onnx.exporting import export
from mpq_plugins.exporters.onnx.running import load, run, session
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.graph.sites import take_sites
from mpq_torch.reader.reading import read_model


class _Behind(nn.Module):
    """A function of what a linear on the last axis gives."""

    def __init__(self, function, features):
        super().__init__()
        self.fc = nn.Linear(features, features)
        self.tail = function

    def forward(self, x):
        return self.tail(self.fc(x))


def quantized(function, x):
    """The reading of the function behind a linear, and its graph on grids of 8 bits."""
    keep_float = ["tail"] if isinstance(function, nn.Sequential) else []
    reading = read_model(_Behind(function, x.shape[-1]), [x], keep_float)
    sites = take_sites(reading.graph)
    grids = {site.name: Grid.power_of_two(8, 2 if site.kind == "activation" else 0) for site in sites.inventory}
    return reading, QuantizedGraph.of(reading.graph, sites, grids, plugins.target("onnxruntime"))


def both(function, x, **options):
    """The output of the simulation in torch, whose float ops are torch's own, and that of the file."""
    reading, graph = quantized(function, x)
    (wanted,) = Simulation(graph, reading.runner).outputs([x])
    (got,) = run(session(export(graph, **options)), [x.numpy()])
    return wanted.detach().numpy(), got


def heads(x):
    """x as queries, keys and values of two heads."""
    return (x.unflatten(-1, (2, 3)).transpose(1, 2),) * 3


class SelfAttention(nn.Module):
    def __init__(self, batch_first, mask=None, weights=False):
        super().__init__()
        self.layer, self.mask = nn.MultiheadAttention(6, 2, batch_first=batch_first), mask
        self.weights = weights

    def forward(self, x):
        return self.layer(x, x, x, attn_mask=self.mask, need_weights=self.weights)[int(self.weights)]


class First(nn.Module):
    """The first part of what a layer gives."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)[0]


class WithState(First):
    def forward(self, x):
        y, state = self.layer(x)
        last = state[1] if isinstance(self.layer, nn.LSTM) else state
        return y * last.transpose(0, 1)


class Begun(First):
    """A recurrent layer that begins with states."""

    def forward(self, x):
        state = x[:, : self.layer.num_layers, :3].transpose(0, 1)
        return self.layer(x, (state, state) if isinstance(self.layer, nn.LSTM) else state)[0]


BOUNDS, ORDER = torch.tensor([-0.4, 0.0, 0.3]), torch.arange(6) * 2.0**-20
"""ORDER: so little that it decides which of equal elements comes first, and nothing else."""
FLOAT = {
    "softmax": nn.Softmax(1),
    "softmax without a dim": nn.Softmax(),
    "log_softmax": nn.LogSoftmax(-1),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "gelu": nn.GELU(),
    "gelu by tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
    "elu": nn.ELU(0.7),
    "selu": nn.SELU(),
    "leaky relu": nn.LeakyReLU(0.2),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Sequential(nn.Sigmoid(), nn.Hardswish()),
    "relu6": nn.Sequential(nn.Tanh(), nn.ReLU6()),
    "layer norm": nn.LayerNorm(6),
    "layer norm without weights": nn.LayerNorm((5, 6), 1e-3, elementwise_affine=False),
    "functional layer norm": lambda x: F.layer_norm(x, (6,), torch.arange(6.0), torch.ones(6), 1e-3),
    "rms norm": nn.RMSNorm(6),
    "functional rms norm": lambda x: F.rms_norm(x, (5, 6), eps=0.1),
    "group norm": nn.GroupNorm(5, 5),
    "functional group norm": lambda x: F.group_norm(x, 1),
    "instance norm": nn.InstanceNorm1d(5, affine=True),
    "functional instance norm": lambda x: F.instance_norm(x, eps=1e-2),
    "attention of torch": lambda x: F.scaled_dot_product_attention(*heads(x)),
    "causal attention": lambda x: F.scaled_dot_product_attention(*heads(x), is_causal=True, scale=0.3),
    "a layer of attention": SelfAttention(batch_first=True),
    "a layer of attention, steps first": SelfAttention(batch_first=False),
    "a layer of attention with a mask": SelfAttention(True, torch.ones(5, 5, dtype=torch.bool).triu(1)),
    "lstm": First(nn.LSTM(6, 3, batch_first=True)),
    "two lstms both ways": First(nn.LSTM(6, 3, 2, bias=False, bidirectional=True)),
    "gru and its state": WithState(nn.GRU(6, 3, batch_first=True)),
    "lstm and its cells": WithState(nn.LSTM(6, 3, batch_first=True)),
    "linear": nn.Sequential(nn.Tanh(), nn.Linear(6, 3)),
    "linear without bias": nn.Sequential(nn.Tanh(), nn.Linear(6, 3, bias=False)),
    "gru with a state": Begun(nn.GRU(6, 3, 2, batch_first=True)),
    "lstm with states": Begun(nn.LSTM(6, 3, batch_first=True)),
    "weights of attention": SelfAttention(batch_first=True, weights=True),
    "unit vectors": lambda x: F.normalize(x) + F.normalize(x, p=1, dim=2),
    "sums by an equation": lambda x: torch.einsum("bij,bkj->bik", x, torch.exp(x)),
    "the largest few": lambda x: torch.topk(torch.exp(x), 3, 1)[0],
    "sorted, and where each was": lambda x: torch.sort(x.exp(), 2)[0] + torch.argsort(x + ORDER, 2, True),
    "sorted by its method": lambda x: x.sort(1, descending=True).values,
    "the middle, and the second": lambda x: torch.median(x, 1)[0] + x.kthvalue(2, 1)[0],
    "the largest, and where it is": lambda x: (
        x.exp() * torch.max(x + ORDER, 2, True)[1] - torch.min(x.exp(), 1, True)[0]
    ),
    "one at a place": lambda x: F.one_hot(x.argmax(2), 7).float(),
    "between bounds": lambda x: torch.bucketize(x, BOUNDS) + torch.searchsorted(BOUNDS, x, right=True),
    "elements put to places": lambda x: torch.scatter(x.exp(), 2, torch.argsort(x + ORDER, 2), x),
    "places that are computed": lambda x: torch.gather(x.exp(), 2, torch.argsort(x + ORDER, 2)),
    "triangles": lambda x: torch.tril(x.exp()) * 2 - x.exp().triu(1),
    "running sums": lambda x: torch.cumsum(x, 1),
    "sums and products along axes": lambda x: torch.logsumexp(x, (1, 2), True) + torch.prod(x, 2, True),
    "norms": lambda x: (
        torch.norm(x, 2, 1, True) - torch.linalg.norm(x, dim=2, keepdim=True) + x.norm(p=1, dim=1, keepdim=True)
    ),
    "logarithms that vanish": lambda x: torch.special.xlogy(F.relu(x), x.exp()),
    "numbers for none": lambda x: torch.nan_to_num((x - x).log() * F.relu(x), 2.0, 3.0, -4.0),
    "rnn both ways": First(nn.RNN(6, 3, batch_first=True, bidirectional=True)),
    "conv": nn.Sequential(nn.Tanh(), nn.Conv1d(5, 4, 3, padding=1)),
    "transposed conv": nn.Sequential(nn.Tanh(), nn.ConvTranspose1d(5, 4, 3, 2, 1, 1)),
    "batch norm": nn.Sequential(nn.Tanh(), nn.BatchNorm1d(5)),
    "functions of a number": lambda x: 2 - torch.mul(x, 3.5) / 4 + (x - 1) * 2,
    "functions of two tensors": lambda x: torch.sigmoid(x) * x + x.exp().sqrt() - torch.neg(x).abs(),
    "matmul": lambda x: x @ x.transpose(1, 2),
    "functional softmax": lambda x: F.softmax(x, dim=2),
    "method softmax": lambda x: x.softmax(1),
    "functional gelu": lambda x: F.gelu(x, approximate="tanh"),
    "functional leaky relu": lambda x: F.leaky_relu(F.elu(x), 0.3),
    "functions with their defaults": lambda x: F.leaky_relu(F.elu(F.gelu(F.softplus(x)))) + F.softsign(x),
    "functions of one element": lambda x: (
        torch.log1p(torch.expm1(x.exp().rsqrt()).pow(1.5)) + F.logsigmoid(torch.sin(torch.exp(x))).reciprocal()
    ),
    "shrinks": lambda x: F.softshrink(torch.exp(x)) + F.hardshrink(torch.exp(x), 0.7) - F.tanhshrink(x.exp()),
    "thresholds": lambda x: F.threshold(torch.exp(x), 0.7, -1.0) + F.celu(torch.exp(x).round(), 0.3) + x.exp().erf(),
    "sums with alpha": lambda x: torch.sub(torch.exp(x), x, alpha=2) + torch.exp(x).add(x.exp(), alpha=0.5),
    "clamp below": lambda x: torch.clamp(torch.exp(x), min=0.5),
    "functional relu6": lambda x: F.relu6(torch.exp(x) * 10),
    "functional hardtanh": lambda x: F.hardtanh(torch.exp(x), -0.5, 0.25),
    "clamp": lambda x: torch.tanh(x).clamp(-0.25, 0.5),
    "dropout": lambda x: F.dropout(F.silu(x), 0.5, False),
}


@pytest.mark.parametrize("name", FLOAT)
def test_what_stays_float_computes_what_torch_computes(name):
    torch.manual_seed(0)
    wanted, got = both(FLOAT[name], torch.randn(4, 5, 6))
    assert wanted.shape == got.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


REFUSED = {
    "Softplus with threshold=1.0": nn.Softplus(threshold=1.0),
    "softmax with dtype=torch.float64": lambda x: F.softmax(x, 1, dtype=torch.float64),
    "clamp with low=a tensor": lambda x: torch.exp(x).clamp(x),
    "cumprod": lambda x: x.cumprod(1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_an_argument_or_function_that_no_form_names_is_refused_by_name(what):
    torch.manual_seed(0)
    with pytest.raises(UnsupportedOp, match=rf": {what} has no ONNX form here; let the model end before it"):
        both(REFUSED[what], torch.randn(4, 5, 6))


IMAGES = {
    "at computed places": lambda x: F.grid_sample(x, 2 * torch.tanh(x)[:, :2].permute(0, 2, 3, 1), align_corners=False),
    "at the nearest places": lambda x: F.grid_sample(
        x, torch.tanh(x)[:, :2].permute(0, 2, 3, 1), "nearest", "border", align_corners=True
    ),
    "turned": lambda x: F.grid_sample(
        x, F.affine_grid(x.mean((2, 3)).reshape(-1, 2, 3), x.shape, align_corners=False), align_corners=False
    ),
    "pooled, and put back": lambda x: F.relu(UNPOOL(*POOL(x))),
    "over the squares of neighbours": nn.LocalResponseNorm(3, 0.5, 0.6, 1.5),
}
POOL, UNPOOL = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)


@pytest.mark.parametrize("name", IMAGES)
def test_what_samples_and_norms_images_in_float_computes_what_torch_computes(name):
    torch.manual_seed(0)
    wanted, got = both(IMAGES[name], torch.randn(4, 6, 4, 8))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


MOVES = {
    "flatten": lambda x: torch.flatten(x, 1, -1),
    "reshape": lambda x: x.reshape(-1, 3, 40),
    "reshape that multiplies the batch": lambda x: x.reshape(-1, 6, 4),
    "view": lambda x: x.view(-1, 6, 20),
    "permute": lambda x: x.permute(0, 3, 1, 2),
    "permute by a tuple": lambda x: x.permute((0, -1, 2, 1)),
    "transpose": lambda x: x.transpose(1, -1),
    "transpose of the batch": lambda x: x.transpose(0, 1),
    "unsqueeze": lambda x: x.unsqueeze(2),
    "every second": lambda x: x[:, :, ::2, ::4],
    "pad": lambda x: F.pad(x, (1, 0, 2, 3)),
    "concat": lambda x: torch.cat([x, x], 1),
    "clamp": lambda x: torch.flatten(x, 1).clamp(-0.3, 0.8),
    "interpolate by a factor": lambda x: F.interpolate(x, scale_factor=2.0),
    "interpolate by two factors": lambda x: F.interpolate(x, scale_factor=(3.0, 1.0)),
    "interpolate to a size": lambda x: F.interpolate(x, size=(7, 9)),
    "interpolate to a smaller size": lambda x: F.interpolate(x, size=(3, 5)),
    "interpolate by a fraction": lambda x: F.interpolate(x, scale_factor=0.5),
    "upsample": nn.Upsample(scale_factor=1.7),
    "max pool": lambda x: F.max_pool2d(x, 2),
    "max pool in ceil mode": lambda x: F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True),
    "dilated max pool": lambda x: F.max_pool2d(x, (2, 1), 1, 0, 2),
    "dilated max pool in ceil mode": lambda x: F.max_pool2d(x, 2, 3, 1, 4, ceil_mode=True),
}


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("options", [{}, {"batch": 4}, {"symmetric": True}], ids=str)
def test_what_moves_elements_moves_them_as_torch_does(name, options):
    torch.manual_seed(0)
    wanted, got = both(MOVES[name], torch.randn(4, 5, 6, 4), **options)
    np.testing.assert_array_equal(got, wanted)


def test_what_moves_float_elements_moves_them_as_torch_does():
    torch.manual_seed(0)
    for name in ("permute", "interpolate to a size", "max pool", "every second", "pad", "concat"):
        wanted, got = both(lambda x, name=name: MOVES[name](torch.exp(x)), torch.randn(4, 5, 6, 4))
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


def shapes_of(function, x, **options):
    proto = load(export(quantized(function, x)[1], **options))
    return [[d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim] for i in proto.graph.output]


def test_the_dimension_that_grows_with_the_batch_is_open_wherever_it_goes():
    x = torch.zeros(2, 3, 4)
    assert shapes_of(lambda x: x.transpose(0, 1), x) == [[3, "batch", 4]]
    assert shapes_of(lambda x: x.reshape(-1, 4), x) == [["3*batch", 4]]


def test_without_a_dynamic_batch_every_dimension_is_fixed():
    x = torch.zeros(2, 3, 4)
    assert shapes_of(lambda x: x.transpose(0, 1), x, batch=7) == [[3, 7, 4]]
    assert shapes_of(lambda x: x.reshape(-1, 4), x, batch=7) == [[21, 4]]

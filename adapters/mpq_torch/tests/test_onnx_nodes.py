"""Single nodes of the ONNX export against torch: what stays float, what moves elements, how shapes grow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.onnx.running import run, session
from mpq_plugins.exporters.onnx.writer import GraphWriter
from mpq_torch.canonical_ops import SameGrid
from mpq_torch.onnx.graph import Walk
from mpq_torch.onnx.shapes import shapes_of


class _Leaves(torch.fx.Tracer):
    def is_leaf_module(self, m, module_qualified_name):
        return isinstance(m, SameGrid) or super().is_leaf_module(m, module_qualified_name)


def exported(function, *inputs):
    """The outputs of a float function by torch and by onnxruntime."""
    module = function if isinstance(function, nn.Module) else _Function(function)
    graph = torch.fx.GraphModule(module, _Leaves().trace(module)).eval()
    writer = GraphWriter(21)
    Walk(writer, graph, shapes_of(graph, inputs, True)).write()
    with torch.no_grad():
        wanted = graph(*inputs)
    (got,) = run(session(writer.model([], {})), [t.numpy() for t in inputs])
    return wanted.numpy(), got


class _Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


FLOAT = {
    "softmax": nn.Softmax(1),
    "log_softmax": nn.LogSoftmax(-1),
    "sigmoid": nn.Sigmoid(),
    "tanh": nn.Tanh(),
    "gelu": nn.GELU(),
    "gelu by tanh": nn.GELU(approximate="tanh"),
    "silu": nn.SiLU(),
    "elu": nn.ELU(0.7),
    "leaky relu": nn.LeakyReLU(0.2),
    "softplus": nn.Softplus(),
    "hardsigmoid": nn.Hardsigmoid(),
    "hardswish": nn.Hardswish(),
    "relu6": nn.ReLU6(),
    "layer norm": nn.LayerNorm(6),
    "linear": nn.Linear(6, 3),
    "linear without bias": nn.Linear(6, 3, bias=False),
    "conv": nn.Conv1d(5, 4, 3, padding=1),
    "transposed conv": nn.ConvTranspose1d(5, 4, 3, 2, 1, 1),
    "functions of a number": lambda x: 2 - torch.mul(x, 3.5) / 4 + (x - 1) * 2,
    "functions of two tensors": lambda x: torch.sigmoid(x) * x + x.exp().sqrt() - torch.neg(x).abs(),
    "functional softmax": lambda x: F.softmax(x, dim=2),
    "method softmax": lambda x: x.softmax(1),
    "functional gelu": lambda x: F.gelu(x, approximate="tanh"),
    "functional leaky relu": lambda x: F.leaky_relu(F.elu(x), 0.3),
    "clamp below": lambda x: torch.clamp(x, min=-0.5),
    "functional relu6": lambda x: F.relu6(x * 10),
    "functional hardtanh": lambda x: F.hardtanh(x, -0.5, 0.25),
    "clamp": lambda x: x.clamp(-0.25, 0.5),
    "dropout": lambda x: F.dropout(F.silu(x), 0.5, False),
}


@pytest.mark.parametrize("name", FLOAT)
def test_what_stays_float_computes_what_torch_computes(name):
    torch.manual_seed(0)
    what = FLOAT[name]
    wanted, got = exported(nn.Sequential(what) if isinstance(what, nn.Module) else what, torch.randn(4, 5, 6))
    assert wanted.shape == got.shape
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


MOVES = {
    "flatten": ("torch.flatten", (1, -1), {}),
    "reshape": ("Tensor.reshape", (-1, 3, 40), {}),
    "view": ("Tensor.view", (-1, 6, 20), {}),
    "permute": ("Tensor.permute", (0, 3, 1, 2), {}),
    "permute by a tuple": ("Tensor.permute", ((0, -1, 2, 1),), {}),
    "transpose": ("Tensor.transpose", (1, -1), {}),
    "unsqueeze": ("Tensor.unsqueeze", (2,), {}),
    "interpolate by a factor": ("functional.interpolate", (), {"scale_factor": 2.0}),
    "interpolate by two factors": ("functional.interpolate", (), {"scale_factor": (3.0, 1.0)}),
    "interpolate to a size": ("functional.interpolate", (), {"size": (7, 9)}),
    "interpolate to a smaller size": ("functional.interpolate", (), {"size": (3, 5)}),
    "interpolate by a fraction": ("functional.interpolate", (), {"scale_factor": 0.5}),
    "max pool": ("functional.max_pool2d", (2,), {}),
    "max pool in ceil mode": ("functional.max_pool2d", (3, 2), {"padding": 1, "ceil_mode": True}),
    "dilated max pool": ("functional.max_pool2d", ((2, 1), 1, 0, 2), {}),
}


class _Moved(nn.Module):
    def __init__(self, function, args, kwargs):
        super().__init__()
        self.moved, self.args, self.kwargs = SameGrid(function, "reshape"), args, kwargs

    def forward(self, x):
        return self.moved(x, *self.args, **self.kwargs)


@pytest.mark.parametrize("name", MOVES)
def test_what_moves_elements_moves_them_as_torch_does(name):
    torch.manual_seed(0)
    wanted, got = exported(_Moved(*MOVES[name]), torch.randn(4, 5, 6, 4))
    np.testing.assert_array_equal(got, wanted)


def graph_of(function):
    return torch.fx.GraphModule(_Function(function), torch.fx.Tracer().trace(_Function(function)))


def test_the_dimension_that_grows_with_the_batch_is_open_wherever_it_goes():
    graph = graph_of(lambda x: x.transpose(0, 1).reshape(3, -1))
    shapes = [shape for node, shape in shapes_of(graph, (torch.zeros(2, 3, 4),), True).shapes.items()]
    assert shapes == [(None, 3, 4), (3, None, 4), (3, None), (3, None)]


def test_without_a_dynamic_batch_every_dimension_is_fixed():
    graph = graph_of(lambda x: x.transpose(0, 1))
    assert list(shapes_of(graph, (torch.zeros(2, 3),), False).shapes.values()) == [(2, 3), (3, 2), (3, 2)]


def test_two_dimensions_that_grow_are_refused_with_both_shapes():
    with pytest.raises(ModelError, match=r"matmul: its shape is \(2, 2\) for one example and \(4, 4\) for two"):
        shapes_of(graph_of(lambda x: x @ x.transpose(0, 1)), (torch.zeros(2, 3),), True)

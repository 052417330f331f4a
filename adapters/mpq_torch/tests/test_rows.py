"""Gradients of norms, softmaxes and matrix products in torch, by finite differences."""

import pytest
import torch

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.ops import op_of
from mpq_torch.runner import TorchRunner

NODES = {
    "normalize": Node("n", "normalize", ("x",), attrs={"axes": (1, 2), "centered": True, "epsilon": 0.1}),
    "mean square": Node("n", "normalize", ("x",), attrs={"axes": (2,), "centered": False, "epsilon": 0.1}),
    "softmax": Node("s", "softmax", ("x",), attrs={"axis": 1, "scale": 0.3}),
    "matmul": Node("m", "matmul", ("x", "y")),
}


@pytest.mark.parametrize("kind", NODES)
def test_gradients_are_those_of_finite_differences(kind):
    node = NODES[kind]
    torch.manual_seed(0)
    x = [torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)]
    x += [torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)] * (len(node.inputs) - 1)
    assert torch.autograd.gradcheck(lambda *tensors: op_of(node).value(TorchRunner(), node, *tensors), x)

"""Gradients of norms, softmaxes and matrix products in torch, by finite differences."""

import pytest
import torch

from mpq_plugins.graph.ops import op_of
from mpq_plugins.tests.row_nodes import NODES
from mpq_torch.runner.torch_runner import TorchRunner


@pytest.mark.parametrize("kind", NODES)
def test_gradients_are_those_of_finite_differences(kind):
    node = NODES[kind]
    torch.manual_seed(0)
    x = [torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)]
    x += [torch.randn(2, 4, 2, dtype=torch.float64, requires_grad=True)] * (len(node.inputs) - 1)
    assert torch.autograd.gradcheck(lambda *tensors: op_of(node).value(TorchRunner(), node, *tensors), x)

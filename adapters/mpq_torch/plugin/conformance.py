"""What the conformance kit asks of torch: see mpq_plugins.testing.framework_arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mpq_plugins.testing.framework_arrays import Function, Numbers
from mpq_torch import demo
from mpq_torch.array_ops.ops import TORCH
from mpq_torch.reader.spelled import of_package
from mpq_torch.reader.spelled import spelled as torch_spelled
from mpq_torch.runner.torch_runner import TorchRunner

OPS = TORCH
RUNNER = TorchRunner()
SPELLINGS = "torch"
TARGET = demo.TARGET
SAMPLES = 32


def tensor(values: Any) -> Tensor:
    """A float32 tensor."""
    return torch.tensor(np.asarray(values, np.float32))


def gradients(function: Function, inputs: Mapping[str, NDArray[Any]]) -> tuple[Numbers, Numbers]:
    """By reverse-mode differentiation; zeros where the scalar does not depend on an input."""
    leaves = {name: tensor(value).requires_grad_() for name, value in inputs.items()}
    scalar, results = function(leaves)
    found: tuple[Tensor | None, ...] = (None,) * len(leaves)
    if isinstance(scalar, Tensor) and scalar.requires_grad:
        found = torch.autograd.grad(scalar, list(leaves.values()), allow_unused=True)
    zeros = {name: np.zeros(leaf.shape, np.float32) for name, leaf in leaves.items()}
    by_name = {
        name: zeros[name] if gradient is None else gradient.numpy()
        for name, gradient in zip(leaves, found, strict=True)
    }
    return by_name, {name: _array(value) for name, value in results.items()}


def spelled(spelling: str) -> Any:
    """The function, or the module made without arguments, of arrays; None for a method, False for what is not there."""
    found = torch_spelled(spelling)
    if found is None:
        return False if of_package(spelling) else None
    if isinstance(found, str):
        return None
    function: Any = found() if isinstance(found, type) else found
    return lambda x: function(torch.from_numpy(np.array(x))).detach().numpy()


def network(seed: int) -> tuple[nn.Module, NDArray[np.float32]]:
    """The demo's network, untrained, and images for it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = demo.network().eval()
    return model, np.random.default_rng(seed).random((SAMPLES, 1, 8, 8)).astype(np.float32)


def _array(value: Any) -> NDArray[Any]:
    return value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)

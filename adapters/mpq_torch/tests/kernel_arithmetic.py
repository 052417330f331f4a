"""The laws that the core has for torch's integer kernels, on tensors of grid values, as the tests hold them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mpq_plugins.graph import arithmetic as core
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.runtimes.torch_kernels import CONTAINER
from mpq_plugins.grid import Grid
from mpq_torch.runner.torch_runner import TorchRunner

RUN = TorchRunner()
ONE = Grid(8, (1.0,))
ROUNDINGS = ("half_even", "half_away", "half_up")


def rounded(x: Tensor, rounding: Any) -> Tensor:
    """Nearest integers."""
    found: Tensor = core.rounded(RUN, x, rounding)
    return found


def quantize_input(x: Tensor, step: float, low: int, high: int) -> Tensor:
    """A float32 tensor on codes of a container, whose lowest is stored as zero."""
    container = cast(Grid, SimpleNamespace(steps=(step,), low=low, high=high))
    found: Tensor = core.entered(RUN, x, container, CONTAINER, "half_even")
    return found * step


def requantize(x: Tensor, step: float, low: int, high: int) -> Tensor:
    """Exact values of an accumulator on a grid of another step."""
    codes = core.requantized(RUN, x, np.float32(1 / step), "half_even")
    return _clipped(codes, low, high) * step


def add(a: Tensor, b: Tensor, step: float, low: int, high: int, rounding: Any) -> Tensor:
    """Sum of two tensors on a grid of its own."""
    return _clipped(core.add_in_float32(RUN, a, b, (ONE, ONE), Grid(8, (step,)), rounding), low, high) * step


def multiply(a: Tensor, b: Tensor, step: float, low: int, high: int) -> Tensor:
    """Product of two tensors on a grid of its own."""
    codes = core.multiply_exactly(RUN, a.double() * b.double(), np.asarray(1 / step), "half_even")
    return (_clipped(codes, low, high) * step).float()


def hardswish(x: Tensor, step: float, low: int, high: int) -> Tensor:
    """x * clamp(x + 3, 0, 6) / 6 on a grid of its own."""
    exact = all_ops()["hardswish"].value(RUN, Node("y", "hardswish", ("x",)), x.double())
    return (_clipped(rounded(exact / step, "half_even"), low, high) * step).to(x.dtype)


def mean(x: Tensor, step: float, dim: Sequence[int]) -> Tensor:
    """Mean over axes on the grid of the input."""
    sums = (x.double() / step).sum(tuple(dim))
    found: Tensor = core.mean_of(RUN, sums, x.numel() // sums.numel(), "exact", "half_even")
    return (found * step).to(x.dtype)


def average_pool2d(x: Tensor, step: float, *window: Any, **more: Any) -> Tensor:
    """Average pooling on the grid of the input; padding counts as zeros."""
    averages = F.avg_pool2d(x.double() / step, *window, **more)
    found: Tensor = core.average_of(RUN, averages, 1.0, ONE, "exact", "half_even")
    return (found * step).to(x.dtype)


def _clipped(codes: Tensor, low: int, high: int) -> Tensor:
    return torch.clamp(codes, low, high)

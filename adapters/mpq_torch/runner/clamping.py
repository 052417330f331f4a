"""torch.clamp with a gradient that takes one pass; its own takes three, and ten times as long."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpq_torch.array_ops.autograd import applied


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, below: float, above: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.between = below, above
        return torch.clamp(x, low, high)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(gradient, x, *ctx.between), None, None, None, None


def clamped(x: Tensor, low: float, high: float) -> Tensor:
    """The elements of x, none below ``low`` or above ``high``; the gradient passes where x lies between, ends included.

    >>> x = torch.tensor([-1.0, 0.0, 3.0, 6.0, 7.0], requires_grad=True)
    >>> torch.autograd.grad(clamped(x, 0.0, 6.0).sum(), x)[0].tolist()
    [0.0, 1.0, 1.0, 1.0, 0.0]
    """
    held = np.float64 if x.dtype == torch.float64 else np.float32
    # the kernel passes a gradient strictly between two numbers: the next ones outside
    below, above = np.nextafter(held(low), held(-math.inf)), np.nextafter(held(high), held(math.inf))
    return applied(_Clamp, x, low, high, float(below), float(above))

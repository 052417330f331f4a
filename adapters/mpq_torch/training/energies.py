"""Energies: what the squared gradients at the tensors of a bank add up to, in the few steps in which that is asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class Watched(torch.autograd.Function):
    """x itself. The gradient to ``energy``, [1], is the sum of the squared gradients that arrive at x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, energy: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, gradient.float().square().sum().reshape(1)

"""The functions of one element that rounding gradients are made of, on torch tensors."""

from __future__ import annotations

import torch
from torch import Tensor


class Elementwise:
    """mpq_plugins.array_ops.Elementwise."""

    abs, sign, sin = (staticmethod(f) for f in (torch.abs, torch.sign, torch.sin))
    tanh, atanh = staticmethod(torch.tanh), staticmethod(torch.atanh)

    def uniform_like(self, x: Tensor) -> Tensor:
        """Numbers of 0 to 1, of the shape and type of x."""
        return torch.rand_like(x)

    def normal_like(self, x: Tensor) -> Tensor:
        """Standard normal numbers, of the shape and type of x."""
        return torch.randn_like(x)


ELEMENTWISE = Elementwise()
"""The one instance; it holds nothing."""

"""A weight times a factor for each of its output channels, in float64: one op forward, one backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mpq_torch.array_ops.autograd import applied
from mpq_torch.array_ops.rounding_function import LIBRARY


def scaled(weight: Tensor, scale: Tensor, axis: int) -> Tensor:
    """weight * scale along ``axis``, rounded once to the weight's type. scale: [channels], float64.

    As mpq_plugins.graph.folded_norms has it: a weight between two codes must fall to the same one.
    """
    return applied(_Scaled, weight, scale, axis)


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor, axis: int) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.axis = axis
        run = _forward if torch.compiler.is_compiling() else torch.ops.mpq.scale_channels
        return run(weight, scale, axis)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        weight, scale = ctx.saved_tensors
        run = _backward if torch.compiler.is_compiling() else torch.ops.mpq.scale_channels_backward
        by_weight, by_scale = run(gradient, weight, scale, ctx.axis)
        return by_weight, by_scale, None


def _spread(scale: Tensor, weight: Tensor, axis: int) -> Tensor:
    shape = [1] * weight.dim()
    shape[axis] = -1
    return scale.view(shape)


def _forward(weight: Tensor, scale: Tensor, axis: int) -> Tensor:
    return (weight * _spread(scale, weight, axis)).to(weight)


def _backward(gradient: Tensor, weight: Tensor, scale: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    wide = gradient.double()
    others = [a for a in range(weight.dim()) if a != axis]
    by_weight = (wide * _spread(scale, weight, axis)).to(weight)
    return by_weight, (wide * weight).sum(others)


LIBRARY.define("scale_channels(Tensor weight, Tensor scale, int axis) -> Tensor")
LIBRARY.define("scale_channels_backward(Tensor gradient, Tensor weight, Tensor scale, int axis) -> (Tensor, Tensor)")
LIBRARY.impl("scale_channels", _forward, "CompositeExplicitAutograd")
LIBRARY.impl("scale_channels_backward", _backward, "CompositeExplicitAutograd")

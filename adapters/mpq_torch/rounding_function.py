"""The one primitive of all methods, ``step * clip(round(x / step), low, high)``, as autograd functions.

Two of them compute the same: one for any shapes and devices, and one for a single step on a CPU, which
makes in-place passes with plain numbers. (With it a training step costs less than one of torch.ao's QAT,
whose fused kernels it replaces: python -m benchmarks.cifar_qat --time-only.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpq_plugins.surrogates import STRAIGHT_THROUGH, gradient_factor

_PIECE = 1 << 16  # elements


def fake_quantize(x: Tensor, step: Any, low: Any, high: Any, rounding: str, delta: float, strict: bool) -> Tensor:
    """See mpq_plugins.ops.Ops.fake_quantize. Computes in float32; the result has the element type of x."""
    numbers = [torch.as_tensor(v, dtype=torch.float32, device=x.device) for v in (step, low, high)]
    single = all(number.numel() == 1 for number in numbers)
    one_step = single and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling()
    if one_step:
        return _OneStep.apply(x, *numbers, rounding, delta, strict)
    return _AnyShape.apply(x, *numbers, rounding, delta, strict)


class _AnyShape(torch.autograd.Function):
    """step, low and high broadcast against x, on any device, under autocast and torch.compile."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, low: Tensor, high: Tensor, rounding: str, delta: float, strict: bool
    ) -> Tensor:
        y = torch.clamp(torch.round(x.float() / step), low, high) * step
        ctx.save_for_backward(x, step, low, high, y)
        ctx.options = rounding, delta, strict
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, step, low, high, y = ctx.saved_tensors
        rounding, delta, strict = ctx.options
        g, wide = gradient.float(), x.float()
        scaled = wide / step
        codes = torch.round(scaled)
        above, below = (codes >= high, codes <= low) if strict else (codes > high, codes < low)
        factor = gradient_factor(_ops(), rounding, scaled - codes, g, delta)
        dx = g * factor * ~(above | below)
        dstep = dlow = dhigh = None
        if ctx.needs_input_grad[1]:
            # inside: g (r - u f), outside: g times the code clipped to; both, times step: g y - dx x
            dstep = _summed_to((g * y - dx * wide) / step, step.shape)
        if ctx.needs_input_grad[2]:
            dlow = _summed_to(g * below * step, low.shape)
        if ctx.needs_input_grad[3]:
            dhigh = _summed_to(g * above * step, high.shape)
        return dx.to(x.dtype), dstep, dlow, dhigh, None, None, None


class _OneStep(torch.autograd.Function):
    """One step for all of a float32 tensor on a CPU."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, low: Tensor, high: Tensor, rounding: str, delta: float, strict: bool
    ) -> Tensor:
        limits = step.item(), low.item(), high.item()
        y = torch.div(x, limits[0]).round_().clamp_(*limits[1:]).mul_(limits[0])
        ctx.save_for_backward(x, y)
        ctx.limits, ctx.options, ctx.shapes = limits, (rounding, delta, strict), (step.shape, low.shape, high.shape)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        step, low, high = ctx.limits
        rounding, delta, strict = ctx.options
        first, last = _open_interval(step, low, high, strict)
        dx = torch.ops.aten.hardtanh_backward(gradient, x, first, last)  # g between the bounds, 0 at and beyond them
        if rounding != STRAIGHT_THROUGH:
            _multiply_by_factor(dx, gradient, x, y, step, rounding, delta)
        dstep = dlow = dhigh = None
        if ctx.needs_input_grad[1]:
            dstep = ((_dot(gradient, y) - _dot(dx, x)) / step).reshape(ctx.shapes[0])
        if ctx.needs_input_grad[2]:
            dlow = (torch.where(x <= first, gradient, 0.0).sum() * step).reshape(ctx.shapes[1])
        if ctx.needs_input_grad[3]:
            dhigh = (torch.where(x >= last, gradient, 0.0).sum() * step).reshape(ctx.shapes[2])
        return dx, dstep, dlow, dhigh, None, None, None


def _multiply_by_factor(
    dx: Tensor, gradient: Tensor, x: Tensor, y: Tensor, step: float, rounding: str, delta: float
) -> None:
    """dx times the factor of the rounding gradient, in place; where it can be, in pieces that stay in the cache."""
    tensors = dx, gradient, x, y
    pieces = zip(*(t.reshape(-1).split(_PIECE) for t in tensors), strict=True) if dx.is_contiguous() else [tensors]
    for part, upstream, values, rounded in pieces:
        e = torch.sub(values, rounded).div_(step).clamp_(-0.5, 0.5)  # beyond the last codes dx is 0 already
        part.mul_(gradient_factor(_ops(), rounding, e, upstream, delta))


def _open_interval(step: float, low: float, high: float, strict: bool) -> tuple[float, float]:
    """The float32 numbers strictly between which x rounds to a code that is not clipped."""
    first = math.floor(low) + 1 if strict else math.ceil(low)
    last = math.ceil(high) - 1 if strict else math.floor(high)
    # a tie goes to the even code, so it belongs to the outermost code if that is even
    lower, upper = np.float32((first - 0.5) * step), np.float32((last + 0.5) * step)
    if first % 2 == 0:
        lower = np.nextafter(lower, np.float32(-np.inf))
    if last % 2 == 0:
        upper = np.nextafter(upper, np.float32(np.inf))
    return float(lower), float(upper)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if a.is_contiguous() and b.is_contiguous():
        return torch.dot(a.view(-1), b.view(-1))
    return (a * b).sum()


def _summed_to(x: Tensor, shape: torch.Size) -> Tensor:
    return x.sum_to_size(shape) if len(shape) else x.sum()


def _ops() -> Any:
    from mpq_torch.ops import TORCH  # that module stands on this one

    return TORCH

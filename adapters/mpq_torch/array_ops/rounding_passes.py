"""The passes over memory that the primitive makes (mpq_torch.array_ops.rounding_function): forward, backward, on a CPU.

Rows are step, low and high, [rows], and the shapes in which they broadcast against x. Where all are None,
``numbers`` has the three; where the codes alone are, it has these two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpq_plugins.array_ops.protocol import STRAIGHT_THROUGH
from mpq_plugins.array_ops.surrogates import gradient_factor
from mpq_torch.array_ops.elementwise import ELEMENTWISE

_PIECE = 1 << 16  # elements

Shape = list[int]
Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


def forward(
    x: Tensor,
    step: Tensor | None,
    low: Tensor | None,
    high: Tensor | None,
    step_shape: Shape,
    low_shape: Shape,
    high_shape: Shape,
    numbers: list[float],
    clip_first: bool = False,
) -> Tensor:
    """On any device, by rows or by numbers."""
    wide = x if x.dtype == torch.float32 else x.float()
    by = numbers[0] if step is None else shaped(step, step_shape)
    first, last = numbers[1:] if step is None else _codes(low, high, low_shape, high_shape, numbers)
    codes = torch.div(wide, by)
    codes = codes.clamp_(first, last).round_() if clip_first else codes.round_().clamp_(first, last)
    return codes.mul_(by).to(x.dtype)


def forward_on_cpu(
    x: Tensor,
    step: Tensor | None,
    low: Tensor | None,
    high: Tensor | None,
    step_shape: Shape,
    low_shape: Shape,
    high_shape: Shape,
    numbers: list[float],
    clip_first: bool = False,
) -> Tensor:
    """The same; a single step by numbers."""
    plain = _plain(step, low, high, numbers)
    if plain is None:
        return forward(x, step, low, high, step_shape, low_shape, high_shape, numbers, clip_first)
    return forward(x, None, None, None, [], [], [], plain, clip_first)


def backward(
    gradient: Tensor,
    x: Tensor,
    y: Tensor,
    step: Tensor | None,
    low: Tensor | None,
    high: Tensor | None,
    step_shape: Shape,
    low_shape: Shape,
    high_shape: Shape,
    numbers: list[float],
    rounding: str,
    delta: float,
    strict: bool,
    clip_first: bool,
    wanted: list[bool],
) -> Gradients:
    """On any device, by rows or by numbers: gradients to x and, where ``wanted``, to step, low and high."""
    if step is None:
        return _by_numbers(gradient, x, y, numbers, rounding, delta, strict, clip_first, wanted, ([1], [1], [1]))
    rows = step.shape
    step = shaped(step, step_shape)
    first, last = _codes(low, high, low_shape, high_shape, numbers)
    g, wide = gradient.float(), x.float()
    scaled = torch.div(wide, step)
    unclipped = scaled
    if clip_first:
        scaled = unclipped.clamp(first, last)
        codes = torch.round(scaled)
        outside = unclipped.ne(scaled)
    else:
        codes = torch.round(scaled)
        above, below = (codes >= last, codes <= first) if strict else (codes > last, codes < first)
        outside = above | below
    passed = g
    if rounding != STRAIGHT_THROUGH:
        passed = g * gradient_factor(ELEMENTWISE, rounding, scaled - codes, g, delta)
    dx = passed.masked_fill(outside, 0.0)
    at_ends = passed if clip_first else g
    nothing = dx.new_empty(0)
    dstep, dlow, dhigh = nothing, nothing, nothing
    if wanted[0]:
        # inside: g (r - u f), outside: g times the code clipped to; both, times step: g y - dx x
        moved = _summed_to(g * y.float() - dx * wide, step.shape)
        dstep = (moved / step).view(rows)
    if wanted[1]:
        assert low is not None
        below = unclipped < first if clip_first else below
        dlow = _summed_to(at_ends * below * step, first.shape).view(low.shape)
    if wanted[2]:
        assert high is not None
        above = unclipped > last if clip_first else above
        dhigh = _summed_to(at_ends * above * step, last.shape).view(high.shape)
    return dx.to(x.dtype), dstep, dlow, dhigh


def backward_on_cpu(
    gradient: Tensor,
    x: Tensor,
    y: Tensor,
    step: Tensor | None,
    low: Tensor | None,
    high: Tensor | None,
    step_shape: Shape,
    low_shape: Shape,
    high_shape: Shape,
    numbers: list[float],
    rounding: str,
    delta: float,
    strict: bool,
    clip_first: bool,
    wanted: list[bool],
) -> Gradients:
    """The same; a single step by numbers."""
    options = rounding, delta, strict, clip_first, wanted
    plain = _plain(step, low, high, numbers)
    if plain is None:
        grid = step, low, high, step_shape, low_shape, high_shape, numbers
        return backward(gradient, x, y, *grid, *options)
    rows = [[1] if r is None else list(r.shape) for r in (step, low, high)]
    return _by_numbers(gradient, x, y, plain, *options, (rows[0], rows[1], rows[2]))


def forward_and_outside(
    x: Tensor,
    step: Tensor,
    low: Tensor | None,
    high: Tensor | None,
    step_shape: Shape,
    low_shape: Shape,
    high_shape: Shape,
    numbers: list[float],
) -> tuple[Tensor, Tensor]:
    """What ``forward`` gives of float32, by rows, and where it was clipped: all that a plain gradient needs."""
    step = shaped(step, step_shape)
    rounded = torch.div(x, step).round_()
    clipped = rounded.clamp(*_codes(low, high, low_shape, high_shape, numbers))
    outside = rounded.ne(clipped)
    return clipped.mul_(step), outside


def _by_numbers(
    gradient: Tensor,
    x: Tensor,
    y: Tensor,
    numbers: list[float],
    rounding: str,
    delta: float,
    strict: bool,
    clip_first: bool,
    wanted: list[bool],
    shapes: tuple[Shape, Shape, Shape],
) -> Gradients:
    step, low, high = numbers
    first, last = _within_range(step, low, high) if clip_first else _open_interval(step, low, high, strict)
    kept = x.dtype
    gradient, x, y = gradient.float(), x.float(), y.float()  # nothing, for single precision
    at_ends = gradient
    if clip_first and rounding != STRAIGHT_THROUGH:
        at_ends = gradient.clone()
        _multiply_by_factor(at_ends, gradient, x, y, step, rounding, delta, (low * step, high * step))
    # g between the bounds, 0 at and beyond them
    dx = torch.ops.aten.hardtanh_backward(at_ends, x, first, last)
    if rounding != STRAIGHT_THROUGH and not clip_first:
        _multiply_by_factor(dx, gradient, x, y, step, rounding, delta)
    nothing = dx.new_empty(0)
    dstep, dlow, dhigh = nothing, nothing, nothing
    if wanted[0]:
        dstep = ((_dot(gradient, y) - _dot(dx, x)) / step).reshape(shapes[0])
    if wanted[1]:
        dlow = (_sum_from(-first, at_ends, torch.neg(x)) * step).reshape(shapes[1])
    if wanted[2]:
        dhigh = (_sum_from(last, at_ends, x) * step).reshape(shapes[2])
    return dx.to(kept), dstep, dlow, dhigh


def _plain(step: Tensor | None, low: Tensor | None, high: Tensor | None, numbers: list[float]) -> list[float] | None:
    """Step, low and high as numbers, if each is one; rows are in the host's memory."""
    if step is None:
        return numbers
    if low is None or high is None:
        return None if step.numel() > 1 else [float(np.ravel(step.detach().tolist())[0]), *numbers]
    if not step.numel() == low.numel() == high.numel() == 1:
        return None
    return [float(np.ravel(row.detach().tolist())[0]) for row in (step, low, high)]


def _codes(
    low: Tensor | None, high: Tensor | None, low_shape: Shape, high_shape: Shape, numbers: list[float]
) -> tuple[Any, Any]:
    """Lowest and highest code, as numbers or as arrays that broadcast."""
    if low is None or high is None:
        return numbers[0], numbers[1]
    return shaped(low, low_shape), shaped(high, high_shape)


def shaped(row: Tensor, shape: Shape) -> Tensor:
    """A row in the shape in which it broadcasts; one element does as it is, if not into fewer axes than it has."""
    return row if row.numel() == 1 and row.dim() <= 1 else row.view(shape)


def _multiply_by_factor(
    dx: Tensor,
    gradient: Tensor,
    x: Tensor,
    y: Tensor,
    step: float,
    rounding: str,
    delta: float,
    clipped_to: tuple[float, float] | None = None,
) -> None:
    """dx times the factor of the rounding gradient, in place; where it can be, in pieces that stay in the cache.

    clipped_to: the values to which x was clipped before it was rounded; None if it was clipped after.
    """
    tensors = dx, gradient, x, y
    pieces = zip(*(t.reshape(-1).split(_PIECE) for t in tensors), strict=True) if dx.is_contiguous() else [tensors]
    for part, upstream, values, rounded in pieces:
        distance = torch.sub(values, rounded) if clipped_to is None else values.clamp(*clipped_to).sub_(rounded)
        e = distance.div_(step).clamp_(-0.5, 0.5)  # beyond the last codes dx is 0 already
        part.mul_(gradient_factor(ELEMENTWISE, rounding, e, upstream, delta))


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


def _within_range(step: float, low: float, high: float) -> tuple[float, float]:
    """The float32 numbers strictly between which x is not clipped where clipping comes first."""
    lower, upper = np.float32(np.float32(low) * np.float32(step)), np.float32(np.float32(high) * np.float32(step))
    return float(np.nextafter(lower, np.float32(-np.inf))), float(np.nextafter(upper, np.float32(np.inf)))


def _sum_from(bound: float, gradient: Tensor, x: Tensor) -> Tensor:
    """The sum of the gradient where x >= bound: one pass that needs no mask, ten times faster on a CPU."""
    below = float(np.nextafter(np.float32(bound), np.float32(-np.inf)))
    passed: Tensor = torch.ops.aten.threshold_backward(gradient, x, below)
    return passed.sum()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if a.is_contiguous() and b.is_contiguous():
        return torch.dot(a.view(-1), b.view(-1))
    return (a * b).sum()


def _summed_to(x: Tensor, shape: torch.Size) -> Tensor:
    return x.sum() if math.prod(shape) == 1 else x.sum_to_size(shape)

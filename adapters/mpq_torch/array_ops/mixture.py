"""A tensor as the sum of what several grids make of it, each times its share: one op forward, one backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mpq_plugins.array_ops.protocol import STRAIGHT_THROUGH
from mpq_torch.array_ops import rounding_passes
from mpq_torch.array_ops.autograd import applied
from mpq_torch.array_ops.rounding_function import LIBRARY, Rounding, on_rows

Parts = Sequence[Sequence[Tensor]]
Shapes = Sequence[tuple[int, ...]]


def mixed(x: Tensor, parts: Parts, shares: Sequence[Tensor], shapes: Shapes, rounding: Rounding) -> Tensor:
    """parts: step, low and high of every grid, [rows]; shares: of each, rows as those of a step.

    Gradients reach x and the shares, and, by the primitive, steps and codes that have any.
    """
    rows = [row for part in parts for row in part]
    if any(row.requires_grad for row in rows):
        first, *others = [
            share.view(shapes[0]) * on_rows(x, part, shapes, rounding)
            for part, share in zip(parts, shares, strict=True)
        ]
        for other in others:
            first = first + other
        return first
    return applied(_Mixed, x, shapes, rounding, len(shares), *shares, *rows)


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, shapes: Shapes, rounding: Rounding, count: int, *given: Tensor) -> Tensor:
        shares, rows = list(given[:count]), list(given[count:])
        step_shape, low_shape, high_shape = (list(shape) for shape in shapes)
        run = _forward if torch.compiler.is_compiling() else torch.ops.mpq.mixture
        ctx.save_for_backward(x, *given)
        ctx.options = (step_shape, low_shape, high_shape), rounding, count
        mixture: Tensor = run(x, shares, rows, step_shape, low_shape, high_shape)
        return mixture

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *given = ctx.saved_tensors
        (step_shape, low_shape, high_shape), rounding, count = ctx.options
        shares, rows = given[:count], given[count:]
        run = _backward if torch.compiler.is_compiling() else torch.ops.mpq.mixture_backward
        options = rounding.name, rounding.delta, rounding.strict
        dx, *found = run(gradient, x, shares, rows, step_shape, low_shape, high_shape, *options)
        return dx, None, None, None, *found, *([None] * len(rows))


def _on_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _forward(
    x: Tensor,
    shares: list[Tensor],
    rows: list[Tensor],
    step_shape: list[int],
    low_shape: list[int],
    high_shape: list[int],
) -> Tensor:
    total: Tensor | None = None
    for index, share in enumerate(shares):
        y = rounding_passes.forward_on_cpu if _on_cpu(x) else rounding_passes.forward
        step, low, high = rows[3 * index : 3 * index + 3]
        part = y(x, step, low, high, step_shape, low_shape, high_shape, []).float()
        part = part.mul_(rounding_passes.shaped(share, step_shape))
        total = part if total is None else total.add_(part)
    assert total is not None
    return total.to(x.dtype)


def _backward(
    gradient: Tensor,
    x: Tensor,
    shares: list[Tensor],
    rows: list[Tensor],
    step_shape: list[int],
    low_shape: list[int],
    high_shape: list[int],
    rounding: str,
    delta: float,
    strict: bool,
) -> list[Tensor]:
    on_cpu = _on_cpu(x)
    plain = rounding == STRAIGHT_THROUGH and not strict and not on_cpu
    forward = rounding_passes.forward_on_cpu if on_cpu else rounding_passes.forward
    backward = rounding_passes.backward_on_cpu if on_cpu else rounding_passes.backward
    g, wide = gradient.float(), x.float()
    total: Tensor | None = None
    found = []
    for index, share in enumerate(shares):
        step, low, high = rows[3 * index : 3 * index + 3]
        nowhere: list[float] = []  # the codes are rows
        grid = step, low, high, step_shape, low_shape, high_shape, nowhere
        shaped = rounding_passes.shaped(share, step_shape)
        if plain:
            y, outside = rounding_passes.forward_and_outside(wide, *grid)
            dx = (g * shaped).masked_fill_(outside, 0.0)
        else:
            y = forward(wide, *grid)
            dx = backward(g * shaped, wide, y, *grid, rounding, delta, strict, False, [False, False, False])[0]
        product = g * y
        found.append((product.sum_to_size(step_shape) if step_shape else product.sum()).view(share.shape))
        total = dx if total is None else total.add_(dx)
    assert total is not None
    return [total.to(x.dtype), *found]


_SHAPES = "int[] step_shape, int[] low_shape, int[] high_shape"
LIBRARY.define(f"mixture(Tensor x, Tensor[] shares, Tensor[] rows, {_SHAPES}) -> Tensor")
LIBRARY.define(
    f"mixture_backward(Tensor gradient, Tensor x, Tensor[] shares, Tensor[] rows, {_SHAPES}, str rounding, "
    "float delta, bool strict) -> Tensor[]"
)
LIBRARY.impl("mixture", _forward, "CompositeExplicitAutograd")
LIBRARY.impl("mixture_backward", _backward, "CompositeExplicitAutograd")

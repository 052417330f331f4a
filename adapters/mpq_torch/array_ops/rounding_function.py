"""The one primitive of all methods, ``step * clip(round(x / step), low, high)``, as one op forward and one backward.

A grid's arrays come as rows, [rows], and as the shape in which these broadcast against x; a fixed grid of one
step comes as plain numbers. On a CPU a single step makes in-place passes with plain numbers, also where it
comes as rows, which are in the host's memory then; elsewhere nothing is read back. (torch's own fused
kernels take four to nine times as long forward on a CPU, and turn NaN into a code.) While torch.compile
traces, the same arithmetic is written out, so that it can be fused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mpq_plugins.array_ops.protocol import DELTA, STRAIGHT_THROUGH
from mpq_torch.array_ops import rounding_passes
from mpq_torch.array_ops.autograd import applied

Numbers = tuple[float, float, float]


@dataclass(frozen=True)
class Rounding:
    """How gradients pass: as mpq_plugins.array_ops.protocol.Ops.fake_quantize takes them."""

    name: str = STRAIGHT_THROUGH
    delta: float = DELTA
    strict: bool = False
    clip_first: bool = False


PLAIN = Rounding()


def fake_quantize(
    x: Tensor, step: float | Tensor, low: float | Tensor, high: float | Tensor, rounding: Rounding = PLAIN
) -> Tensor:
    """See mpq_plugins.array_ops.Ops.fake_quantize. Computes in float32; the result has the element type of x."""
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        if not isinstance(step, Tensor):
            return on_grid(x, (float(step), float(low), float(high)), rounding)
        numbers = float(low), float(high)
        shapes = tuple(step.shape), (), ()
        return applied(_Quantized, x, step.float(), None, None, None, shapes, numbers, rounding)
    rows = [v if isinstance(v, Tensor) else torch.full((), float(v), device=x.device) for v in (step, low, high)]
    own = [tuple(row.shape) for row in rows]
    return applied(_Quantized, x, *(row.float() for row in rows), None, own, (), rounding)


def on_grid(x: Tensor, numbers: Numbers, rounding: Rounding = PLAIN) -> Tensor:
    """x on a fixed grid of one step. numbers: step, lowest and highest code."""
    return applied(_Quantized, x, None, None, None, None, ((), (), ()), numbers, rounding)


def on_rows(
    x: Tensor,
    rows: Sequence[Tensor],
    shapes: Sequence[tuple[int, ...]],
    rounding: Rounding = PLAIN,
    probe: Tensor | None = None,
    codes: tuple[float, float] | None = None,
) -> Tensor:
    """x on a grid of rows. rows: step, low, high; shapes: in which each broadcasts against x.

    codes: lowest and highest as numbers, where rows has the step alone.
    probe: of as many elements as x, unread; its gradient is the one that arrives, in the order of x.
    """
    if codes is not None:
        return applied(_Quantized, x, rows[0], None, None, probe, shapes, codes, rounding)
    return applied(_Quantized, x, *rows, probe, shapes, (), rounding)


class _Quantized(torch.autograd.Function):
    """The gradients are those of mpq_plugins.array_ops.reference.fake_quantize_gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        step: Tensor | None,
        low: Tensor | None,
        high: Tensor | None,
        probe: Tensor | None,
        shapes: Sequence[tuple[int, ...]],
        numbers: Sequence[float],
        rounding: Rounding,
    ) -> Tensor:
        step_shape, low_shape, high_shape = (list(shape) for shape in shapes)
        run = rounding_passes.forward if torch.compiler.is_compiling() else torch.ops.mpq.fake_quantize
        given = list(numbers)
        y: Tensor = run(x, step, low, high, step_shape, low_shape, high_shape, given, rounding.clip_first)
        # an output is kept only where it is read: it costs two operations to keep
        reads_output = rounding.name != STRAIGHT_THROUGH or any(ctx.needs_input_grad[1:2])
        ctx.save_for_backward(x, y if reads_output else None, step, low, high)
        ctx.shapes, ctx.numbers, ctx.rounding = (step_shape, low_shape, high_shape), given, rounding
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y, step, low, high = ctx.saved_tensors
        y = x if y is None else y
        rounding, wanted = ctx.rounding, list(ctx.needs_input_grad[1:4])
        run = rounding_passes.backward if torch.compiler.is_compiling() else torch.ops.mpq.fake_quantize_backward
        options = rounding.name, rounding.delta, rounding.strict, rounding.clip_first
        step_shape, low_shape, high_shape = ctx.shapes
        dx, *found = run(
            gradient, x, y, step, low, high, step_shape, low_shape, high_shape, ctx.numbers, *options, wanted
        )
        given = [one if want else None for one, want in zip(found, wanted, strict=True)]
        arrived = gradient.reshape(-1).float() if ctx.needs_input_grad[4] else None
        return dx, *given, arrived, None, None, None


LIBRARY = torch.library.Library("mpq", "DEF")
"""Our ops, for torch's dispatcher."""
_ROWS = "Tensor? step, Tensor? low, Tensor? high, int[] step_shape, int[] low_shape, int[] high_shape, float[] numbers"
LIBRARY.define(f"fake_quantize(Tensor x, {_ROWS}, bool clip_first=False) -> Tensor")
LIBRARY.define(
    f"fake_quantize_backward(Tensor gradient, Tensor x, Tensor y, {_ROWS}, str rounding, float delta, bool strict, "
    "bool clip_first, bool[] wanted) -> (Tensor, Tensor, Tensor, Tensor)"
)
for _key in ("CompositeExplicitAutograd", "CPU"):
    _cpu = _key == "CPU"
    LIBRARY.impl("fake_quantize", rounding_passes.forward_on_cpu if _cpu else rounding_passes.forward, _key)
    LIBRARY.impl("fake_quantize_backward", rounding_passes.backward_on_cpu if _cpu else rounding_passes.backward, _key)

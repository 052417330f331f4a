"""The array functions of mpq_plugins.array_ops for torch, with gradients; on any device, under autocast and compile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mpq_plugins.array_ops.protocol import DELTA, STRAIGHT_THROUGH
from mpq_plugins.array_ops.surrogates import check_rounding, gradient_factor
from mpq_torch.array_ops.autograd import applied
from mpq_torch.array_ops.elementwise import Elementwise
from mpq_torch.array_ops.rounding_function import Rounding, fake_quantize


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rounding: str, delta: float) -> Tensor:
        ctx.rounding, ctx.delta = rounding, delta
        ctx.save_for_backward(x)
        return torch.round(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        factor = gradient_factor(TORCH, ctx.rounding, x - torch.round(x), gradient, ctx.delta)
        return gradient * factor, None, None


class _Ceil(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.ceil(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class _LimitGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: Tensor) -> Tensor:
        ctx.save_for_backward(bound)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (bound,) = ctx.saved_tensors
        return torch.clamp(gradient, -bound, bound), None


class TorchOps(Elementwise):
    """mpq_plugins.array_ops over torch tensors."""

    exp, log, log2, exp2 = (staticmethod(f) for f in (torch.exp, torch.log, torch.log2, torch.exp2))
    sqrt, sigmoid, relu = (staticmethod(f) for f in (torch.sqrt, torch.sigmoid, torch.relu))
    reshape = staticmethod(torch.reshape)
    move_axis = staticmethod(torch.movedim)

    def array(self, values: Any, like: Tensor) -> Tensor:
        return torch.as_tensor(values, dtype=like.dtype, device=like.device)

    def integers(self, values: Any, like: Tensor) -> Tensor:
        return torch.as_tensor(values, dtype=torch.int64, device=like.device)

    def bit_and(self, a: Tensor, b: int) -> Tensor:
        return torch.bitwise_and(a, b)

    def bit_xor(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.bitwise_xor(a, b)

    def shift_right(self, a: Tensor, by: int) -> Tensor:
        return torch.bitwise_right_shift(a, by)

    def float32(self, x: Tensor) -> Tensor:
        return x.float()

    def floor(self, x: Tensor) -> Tensor:
        return torch.floor(x.detach())

    def minimum(self, a: Any, b: Any) -> Tensor:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return torch.minimum(a, b)
        return torch.clamp(a, max=b) if isinstance(a, Tensor) else torch.clamp(b, max=a)

    def maximum(self, a: Any, b: Any) -> Tensor:
        if isinstance(a, Tensor) and isinstance(b, Tensor):
            return torch.maximum(a, b)
        return torch.clamp(a, min=b) if isinstance(a, Tensor) else torch.clamp(b, min=a)

    def where(self, condition: Tensor, a: float | Tensor, b: float | Tensor) -> Tensor:
        return torch.where(condition, a, b)

    def softmax(self, x: Tensor, axis: int = -1) -> Tensor:
        return torch.softmax(x, dim=axis)

    def sum(self, x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
        return x.sum() if axis is None else x.sum(axis)

    def mean(self, x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
        return x.mean() if axis is None else x.mean(axis)

    def max(self, x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
        return x.amax() if axis is None else x.amax(axis)

    def argmax(self, x: Tensor, axis: int = -1) -> Tensor:
        return torch.argmax(x, dim=axis)

    def gather(self, x: Tensor, index: Tensor) -> Tensor:
        return torch.index_select(x, 0, index)

    def repeat(self, x: Tensor, counts: Tensor, total: int) -> Tensor:
        return torch.repeat_interleave(x, counts, dim=0, output_size=total)

    def segment_sum(self, x: Tensor, counts: Tensor) -> Tensor:
        return torch.segment_reduce(x.double(), "sum", lengths=counts, unsafe=True).to(x.dtype)

    def count_alike(self, x: Tensor, size: int) -> Tensor:
        places = x.long()
        counts = torch.zeros(size, dtype=torch.int64, device=x.device)
        return counts.index_add_(0, places, torch.ones_like(places))[places].to(x.dtype)

    def one_hot(self, index: Tensor, size: int, like: Tensor) -> Tensor:
        # torch's own looks at the values of the index
        return (index.unsqueeze(-1) == torch.arange(size, device=index.device)).to(like.dtype)

    def concat(self, parts: Sequence[Tensor], axis: int = 0) -> Tensor:
        return torch.cat(list(parts), dim=axis)

    def stack(self, parts: Sequence[Tensor], axis: int = 0) -> Tensor:
        return torch.stack(list(parts), dim=axis)

    def stop_gradient(self, x: Tensor) -> Tensor:
        return x.detach()

    def cast(self, condition: Tensor, like: Tensor) -> Tensor:
        return condition.to(like.dtype)

    def round(self, x: Tensor, rounding: str = STRAIGHT_THROUGH, delta: float = DELTA) -> Tensor:
        return applied(_Round, x, check_rounding(rounding), delta)

    def ceil(self, x: Tensor) -> Tensor:
        return applied(_Ceil, x)

    def limit_gradient(self, x: Tensor, bound: float | Tensor) -> Tensor:
        limit = torch.as_tensor(bound, dtype=x.dtype, device=x.device).detach()
        return applied(_LimitGradient, x, limit)

    def fake_quantize(
        self,
        x: Tensor,
        step: float | Tensor,
        low: float | Tensor,
        high: float | Tensor,
        rounding: str = STRAIGHT_THROUGH,
        delta: float = DELTA,
        strict: bool = False,
        clip_first: bool = False,
    ) -> Tensor:
        return fake_quantize(x, step, low, high, Rounding(check_rounding(rounding), delta, strict, clip_first))


TORCH = TorchOps()
"""The one instance; it holds nothing."""

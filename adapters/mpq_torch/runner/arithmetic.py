"""The arithmetic of torch's integer kernels, on float tensors that hold grid values.

Steps are powers of two, so dividing by one is exact, and every function here returns exactly what
the kernel returns after dequantization. Measured on torch 2.13 against the kernels of x86, onednn
and qnnpack; tests/test_arithmetic.py holds the comparison. What differs between engines is the
rounding of ties in add (``ROUNDINGS`` has the words of Target).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mpq_plugins.graph.arithmetic import reciprocal_keeps_ties

EXACT_IN_FLOAT32 = 2**24


def round_half_even(x: Tensor) -> Tensor:
    """Nearest integer, ties to the even one.

    >>> round_half_even(torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5]))
    tensor([-2., -0., 0., 2., 2.])
    """
    return torch.round(x)


def round_half_away(x: Tensor) -> Tensor:
    """Nearest integer, ties away from zero.

    >>> round_half_away(torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5]))
    tensor([-2., -1., 1., 2., 3.])
    """
    whole = torch.trunc(x)
    return torch.where((x - whole).abs() == 0.5, whole + torch.sign(x), torch.round(x))


def round_half_up(x: Tensor) -> Tensor:
    """Nearest integer, ties to the larger one.

    >>> round_half_up(torch.tensor([-1.5, -0.5, 0.5, 1.5, 2.5]))
    tensor([-1., 0., 1., 2., 3.])
    """
    whole = torch.floor(x)
    return torch.where(x - whole == 0.5, whole + 1, torch.round(x))


ROUNDINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "half_even": round_half_even,
    "half_away": round_half_away,
    "half_up": round_half_up,
}
"""The rounding of a Target, by its name."""


def quantize_input(x: Tensor, step: float, low: int, high: int, zero_point: int) -> Tensor:
    """A float32 tensor on its grid, as quantize_per_tensor and a clamp do it.

    The kernel adds the zero point BEFORE it rounds, in float32: a value just below a tie becomes
    the tie, so the zero point decides about a few elements in a million.

    >>> x = torch.tensor([0.49999997])
    >>> quantize_input(x, 1.0, -128, 127, 0), quantize_input(x, 1.0, -127, 127, 127)
    (tensor([0.]), tensor([1.]))
    """
    codes = torch.round(x.float() * (1.0 / step) + zero_point) - zero_point
    return torch.clamp(codes, low, high) * step


def requantize(x: Tensor, step: float, low: int, high: int, rounding: str = "half_even") -> Tensor:
    """Exact values (accumulators, sums, products) on a grid of another step, as float32.

    A float64 x must be exact; the kernels turn an int32 accumulator into float32 first, which
    rounds half to even past 2**24, and so does this function.
    """
    scaled = x.float() / step
    return torch.clamp(ROUNDINGS[rounding](scaled), low, high) * step


def accumulates_exactly(
    weight_codes: Tensor, largest_input: int, bias_codes: Tensor | None = None, axis: int = 0
) -> bool:
    """Whether float32 sums of a layer's products are exact, whatever their order.

    weight_codes: integer codes, channels along axis; largest_input: largest magnitude of an input
    code; bias_codes [channels]: bias in accumulator steps. The bound is the L1 norm of each channel:
    every partial sum is then an integer within 2**24. Otherwise accumulate in float64.
    """
    others = [d for d in range(weight_codes.dim()) if d != axis]
    bound = weight_codes.detach().double().abs().sum(dim=others) * largest_input
    if bias_codes is not None:
        bound = bound + bias_codes.detach().double().abs()
    return bool((bound <= EXACT_IN_FLOAT32).all())


def add(a: Tensor, b: Tensor, step: float, low: int, high: int, rounding: str = "half_even") -> Tensor:
    """Sum of two tensors on a grid of its own; qnnpack rounds half away, x86 and onednn half to even."""
    return requantize(a + b, step, low, high, rounding)


def multiply(a: Tensor, b: Tensor, step: float, low: int, high: int) -> Tensor:
    """Product of two tensors on a grid of its own; every engine rounds half to even."""
    return requantize(a * b, step, low, high)


def hardswish(x: Tensor, step: float, low: int, high: int) -> Tensor:
    """x * clamp(x + 3, 0, 6) / 6 on a grid of its own; every engine rounds half to even."""
    exact = x.double()
    scaled = exact * torch.clamp(exact + 3, 0, 6) / 6 / step
    return (torch.clamp(torch.round(scaled), low, high) * step).to(x.dtype)


def mean(x: Tensor, step: float, dim: Sequence[int], keepdim: bool = False) -> Tensor:
    """Mean over axes on the grid of the input, half to even.

    So do all engines, except qnnpack for the axes written (2, 3): write them (-2, -1).
    """
    sums = (x.double() / step).sum(tuple(dim), keepdim)
    count = x.numel() // max(sums.numel(), 1)
    return (torch.round(sums / count) * step).to(x.dtype)


def average_pool_is_exact(kernel_size: int | tuple[int, int], ceil_mode: bool = False) -> bool:
    """Whether the pooling kernels round windows of this size as ``average_pool2d`` does.

    They multiply the sum by the float32 reciprocal of the window's size. Where that moves a tie off
    the tie, engines and even channels of one tensor differ: sizes such as 14, 26, 28, 30, 52 and 56,
    never odd ones nor powers of two. Such a pooling belongs in ``mean``, or in float.

    >>> [n for n in range(1, 60) if not average_pool_is_exact((1, n))]
    [14, 26, 28, 30, 52, 56]
    """
    height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
    shapes = [(h, w) for h in range(1, height + 1) for w in range(1, width + 1)]
    return all(reciprocal_keeps_ties(h * w) for h, w in (shapes if ceil_mode else [(height, width)]))


def average_pool2d(
    x: Tensor,
    step: float,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    ceil_mode: bool = False,
) -> Tensor:
    """Average pooling on the grid of the input, half to even; padding counts as zeros.

    Every engine does so where ``average_pool_is_exact``. (qnnpack ignores count_include_pad=False and
    divisor_override without a word, and refuses windows of one element.)
    """
    average = torch.nn.functional.avg_pool2d(x.double() / step, kernel_size, stride, padding, ceil_mode)
    return (torch.round(average) * step).to(x.dtype)

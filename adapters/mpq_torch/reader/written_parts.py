"""What writing into a part of a tensor is: the tensor put together anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

_END = 2**63 - 1
aten = torch.ops.aten


def _slice_scatter(
    x: Tensor, part: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    size = x.shape[dim]
    if step == 1 and not start and (end is None or end == _END):
        return part.expand(x.shape)  # all of an axis, the batch too
    if not isinstance(size, int):
        return NotImplemented
    if step != 1:
        return _every(x, part, dim % x.dim(), range(size)[start:end:step])
    first, last, _ = slice(start, end).indices(size)
    pieces = [x.narrow(dim, 0, first), part, x.narrow(dim, last, size - last)]
    kept = [piece for piece, length in zip(pieces, (first, last - first, size - last), strict=True) if length]
    return torch.cat(kept, dim) if len(kept) > 1 else kept[0].expand(x.shape)


def _every(x: Tensor, part: Tensor, dim: int, written: range) -> Any:
    """Every so many elements written, from one end of an axis to the other: one place of an axis of their own."""
    size, step = x.shape[dim], written.step
    if size % step or len(written) != size // step:
        return NotImplemented
    apart = x.reshape(*x.shape[:dim], len(written), step, *x.shape[dim + 1 :])
    first = written.start
    pieces = [apart.narrow(dim + 1, 0, first), part.unsqueeze(dim + 1)]
    pieces.append(apart.narrow(dim + 1, first + 1, step - first - 1))
    kept = [piece for piece, length in zip(pieces, (first, 1, step - first - 1), strict=True) if length]
    return torch.cat(kept, dim + 1).reshape(x.shape)


def _select_scatter(x: Tensor, part: Tensor, dim: int, index: int) -> Any:
    size = x.shape[dim]
    first = index % size if isinstance(size, int) else index
    return _slice_scatter(x, part.unsqueeze(dim), dim, first, first + 1)


def _copy(x: Tensor, part: Tensor, non_blocking: bool = False) -> Any:
    return part.expand(x.shape) if part.dtype == x.dtype else NotImplemented


DECOMPOSITIONS: Mapping[Any, Callable[..., Any]] = {
    aten.slice_scatter.default: _slice_scatter,
    aten.select_scatter.default: _select_scatter,
    aten.copy.default: _copy,
    aten.fill.Tensor: lambda x, value: value.to(x.dtype).expand(x.shape),
    aten.fill.Scalar: lambda x, value: torch.full_like(x, value),
    # what is in them is whatever the memory held, and is written over
    aten.new_empty.default: lambda x, size, **options: x.new_zeros(size),
    aten.empty_like.default: lambda x, **options: torch.zeros_like(x),
}
"""By what torch.export records of writing into a part; each takes the arguments of the op."""

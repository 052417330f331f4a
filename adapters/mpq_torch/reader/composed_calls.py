"""Functions of torch that are several operators in one: traced as these, so that each is read as it is elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def _scaled(x: Any, by: Any) -> Any:
    return x if isinstance(by, (int, float)) and by == 1 else x * by


def _addcmul(x: Any, a: Any, b: Any, *, value: Any = 1) -> Any:
    return x + _scaled(a * b, value)


def _addcdiv(x: Any, a: Any, b: Any, *, value: Any = 1) -> Any:
    return x + _scaled(a / b, value)


def _added_product(x: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    return _scaled(a @ b, alpha) + _scaled(x, beta)


def _lerp(x: Any, end: Any, weight: Any) -> Any:
    return x + (end - x) * weight


def _cosine(x: Any, y: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    return (x * y).sum(dim) / (_length(x, dim).clamp(min=eps) * _length(y, dim).clamp(min=eps))


def _length(x: Any, dim: int) -> Any:
    return torch.sqrt((x * x).sum(dim))


def _normalized(x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Any:
    return x / x.abs().sum(dim, keepdim=True).clamp(min=eps) if p == 1 and out is None else NotImplemented


def _softmin(x: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    return NotImplemented if dim is None or dtype is not None else F.softmax(-x, dim)


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return NotImplemented if beta == 1 else F.softplus(x * beta) / beta


def _rrelu(x: Any, lower: float = 1 / 8, upper: float = 1 / 3, training: Any = False, inplace: Any = False) -> Any:
    return NotImplemented if training or inplace else F.leaky_relu(x, (lower + upper) / 2)


def _hypotenuse(x: Any, y: Any) -> Any:
    return torch.sqrt(x * x + y * y)


def _turned(x: Any, k: int = 1, dims: Any = (0, 1)) -> Any:
    a, b = dims
    if k % 4 == 0:
        return x + 0
    if k % 4 == 2:
        return x.flip((a, b))
    return x.flip((b,)).transpose(a, b) if k % 4 == 1 else x.transpose(a, b).flip((b,))


COMPOSED: Mapping[Any, Callable[..., Any]] = {
    **dict.fromkeys([torch.addcmul, "addcmul"], _addcmul),
    **dict.fromkeys([torch.addcdiv, "addcdiv"], _addcdiv),
    **dict.fromkeys([torch.addmm, "addmm", torch.baddbmm, "baddbmm"], _added_product),
    **dict.fromkeys([torch.lerp, "lerp"], _lerp),
    **dict.fromkeys([torch.hypot, "hypot"], _hypotenuse),
    **dict.fromkeys([torch.fmax, "fmax"], lambda x, y: torch.maximum(x, y)),
    **dict.fromkeys([torch.fmin, "fmin"], lambda x, y: torch.minimum(x, y)),
    **dict.fromkeys([torch.rot90, "rot90"], _turned),
    F.cosine_similarity: _cosine,
    F.normalize: _normalized,
    F.softmin: _softmin,
    F.softplus: _softplus,
    F.rrelu: _rrelu,
}
"""By function, or name of a method. One that gives NotImplemented is no composition with these arguments."""
OPENED = (nn.CosineSimilarity, nn.Softmin, nn.RReLU)
"""Layers of torch's whose call is one of these functions."""


def is_opened(module: nn.Module) -> bool:
    """Whether a layer of torch's is traced into."""
    return isinstance(module, OPENED) or (isinstance(module, nn.Softplus) and module.beta != 1)


def composed(target: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """What the operators of a call give; NotImplemented where it is no composition."""
    function = COMPOSED.get(target)
    if function is None or not set(kwargs) <= set(inspect.signature(function).parameters):
        return NotImplemented
    return function(*args, **kwargs)

"""Functions of torch that are several operators in one: traced as these, so that each is read as it is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch


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


COMPOSED: Mapping[Any, Callable[..., Any]] = {
    **dict.fromkeys([torch.addcmul, "addcmul"], _addcmul),
    **dict.fromkeys([torch.addcdiv, "addcdiv"], _addcdiv),
    **dict.fromkeys([torch.addmm, "addmm", torch.baddbmm, "baddbmm"], _added_product),
    **dict.fromkeys([torch.lerp, "lerp"], _lerp),
}
"""By function, or name of a method."""

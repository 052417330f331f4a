"""Tensors that a model makes of sizes while it is traced: torch's own functions take numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

MAKERS = ("tensor", "as_tensor")


@contextmanager
def tensors_of(number: Callable[[Any], Any]) -> Iterator[None]:
    """Let torch.tensor and torch.as_tensor take what a tracer has in the place of numbers. number: what that is."""

    def taking(own: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda data, *rest, **more: own(fx.node.map_aggregate(data, number), *rest, **more)

    before = {name: getattr(torch, name) for name in MAKERS}
    try:
        for name, own in before.items():
            setattr(torch, name, taking(own))
        yield
    finally:
        for name, own in before.items():
            setattr(torch, name, own)

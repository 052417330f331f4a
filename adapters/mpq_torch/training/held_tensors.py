"""Tensors that go where their module goes without being parameters or buffers of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class HeldTensors(nn.Module):
    """A module with ``held``: tensors that follow it to another device, and that nobody saves or broadcasts.

    Constants, draws that can be drawn again, and what only this replica has to know: a state_dict does not
    need them, and DistributedDataParallel, which sends every buffer round before each forward pass, should
    not. Their element types stay what they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, Tensor] = {}

    def hold(self, name: str, value: Any) -> Tensor:
        """Keep a tensor or an array, on the device of what is kept already; float64 arrays become float32."""
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value)
        if not isinstance(value, Tensor) and tensor.dtype == torch.float64:
            tensor = tensor.float()
        beside = next(iter(self.held.values()), tensor)
        self.held[name] = tensor = tensor.to(beside.device)
        return tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> HeldTensors:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # as torch has it
        for name, value in self.held.items():
            moved = fn(value.detach())
            moved = moved if moved.dtype == value.dtype else value.detach().to(moved.device)
            self.held[name] = moved.requires_grad_(value.requires_grad)
        return self

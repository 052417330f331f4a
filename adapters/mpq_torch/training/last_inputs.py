"""LastInputs: the last batch of a training, to find out with which site it went wrong."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_torch.training.graph import first_not_finite


class LastInputs:
    """Inputs of the last forward pass in train(), and whether it ran in half precision."""

    def __init__(self) -> None:
        self._inputs: tuple[Any, ...] | None = None
        self._autocast: tuple[str, torch.dtype] | None = None

    def keep(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A forward pre-hook."""
        if torch.compiler.is_compiling() or not module.training:
            return
        self._inputs = inputs
        device = next((t.device.type for t in inputs if isinstance(t, Tensor)), "cpu")
        on = device != "meta" and torch.is_autocast_enabled(device)
        self._autocast = (device, torch.get_autocast_dtype(device)) if on else None

    def first_not_finite(self, model: fx.GraphModule) -> str | None:
        """The name of the first module whose output is not finite on them; None where that cannot be told."""
        if self._inputs is None:
            return None
        with torch.autocast(*self._autocast) if self._autocast else nullcontext():
            return first_not_finite(model, self._inputs)

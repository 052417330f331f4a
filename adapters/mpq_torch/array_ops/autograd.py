"""Autograd functions, called with a type: torch annotates nothing of ``torch.autograd.Function.apply``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def applied(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """What a function of one output gives of what its ``forward`` takes."""
    output: Tensor = function.apply(*arguments)
    return output

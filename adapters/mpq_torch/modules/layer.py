"""Layer: a module as its caller sees it, where only its call is wanted; torch types no module's call."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Layer = Callable[[Tensor], Tensor]
"""A module, or a function, of one tensor."""

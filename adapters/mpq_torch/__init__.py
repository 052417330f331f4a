"""The torch adapter of mpq-plugins: ``from mpq_torch import fx``, and observers for hand-written qconfigs.

Importing the package imports no torch; names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpq_torch.integer_program import integers, verify_integers
    from mpq_torch.torch_ao.grid_observers import GridObserver, GridPerChannelObserver, GridWeightObserver
    from mpq_torch.torch_ao.observers import PO2Observer, PO2PerChannelWeightObserver, PO2WeightObserver
    from mpq_torch.training.fake_quantize import PO2FakeQuantize

_HOMES = {
    "GridObserver": "torch_ao.grid_observers",
    "GridPerChannelObserver": "torch_ao.grid_observers",
    "GridWeightObserver": "torch_ao.grid_observers",
    "PO2FakeQuantize": "training.fake_quantize",
    "PO2Observer": "torch_ao.observers",
    "PO2PerChannelWeightObserver": "torch_ao.observers",
    "PO2WeightObserver": "torch_ao.observers",
    "integers": "integer_program",
    "verify_integers": "integer_program",
}

__all__ = [
    "GridObserver",
    "GridPerChannelObserver",
    "GridWeightObserver",
    "PO2FakeQuantize",
    "PO2Observer",
    "PO2PerChannelWeightObserver",
    "PO2WeightObserver",
    "integers",
    "verify_integers",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in ("fx", "litert", "onnx", "pt2e"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

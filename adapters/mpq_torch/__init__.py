"""The torch adapter of mpq-plugins: ``from mpq_torch import fx``, and observers for hand-written qconfigs.

Importing the package imports no torch; names load on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpq_torch.fake_quantize import PO2FakeQuantize
    from mpq_torch.grid_observers import GridObserver, GridPerChannelObserver, GridWeightObserver
    from mpq_torch.integer_program import integers, verify_integers
    from mpq_torch.observers import PO2Observer, PO2PerChannelWeightObserver, PO2WeightObserver

_HOMES = {
    "GridObserver": "grid_observers",
    "GridPerChannelObserver": "grid_observers",
    "GridWeightObserver": "grid_observers",
    "PO2FakeQuantize": "fake_quantize",
    "PO2Observer": "observers",
    "PO2PerChannelWeightObserver": "observers",
    "PO2WeightObserver": "observers",
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

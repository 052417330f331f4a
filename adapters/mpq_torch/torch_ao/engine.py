"""Which of torch's quantized engines a target means, and running on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from mpq_plugins.errors import TargetError

ENGINE_ATTRIBUTE = "mpq_engine"
DEFAULT_ENGINE = "x86"


@contextmanager
def quantized_engine(name: str) -> Iterator[None]:
    """Let torch.backends.quantized.engine be ``name`` inside the block.

    Raises TargetError where this build of torch lacks the engine.
    """
    supported = torch.backends.quantized.supported_engines
    if name not in supported:
        hint = "; a recipe for it runs through mpq_torch.pt2e (pt2e.quantize)" if name == "pt2e" else ""
        raise TargetError(f"this torch has no quantized engine {name!r}; it has {', '.join(supported)}{hint}")
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def engine_of(converted: nn.Module) -> str:
    """The engine that fx.quantize converted the model for; else the one that is set now."""
    return str(getattr(converted, ENGINE_ATTRIBUTE, torch.backends.quantized.engine))


class CheckEngine:
    """A forward pre-hook that refuses to run on another engine, whose kernels give other numbers."""

    def __init__(self, engine: str) -> None:
        self.engine = engine

    def __call__(self, module: nn.Module, inputs: object) -> None:
        if torch.backends.quantized.engine != self.engine:
            raise TargetError(
                f"this model was converted for the quantized engine {self.engine!r}, and "
                f"{torch.backends.quantized.engine!r} is set; set torch.backends.quantized.engine = {self.engine!r}"
            )

"""What stands for a tensor while torch.fx traces a model that runs beside it: it knows sizes, and no data."""

from __future__ import annotations

import operator
from typing import Any

from torch import Tensor, fx
from torch.fx.proxy import Attribute

from mpq_plugins.errors import ModelError


class Concrete(fx.Proxy):
    """A proxy that knows sizes. tracer: the ConcreteTracer that made it."""

    tracer: Any

    def __getattr__(self, k: str) -> Attribute:
        return _Attribute(self, k)

    def __len__(self) -> int:
        known = self.tracer.values.get(self.node)
        if isinstance(known, Tensor):
            raise ModelError(f"{self.tracer.where()} asks for the len() of a tensor; ask for its .shape[0]")
        return len(self.tracer.plain(self, "asks for the length of"))

    def __index__(self) -> int:
        return operator.index(self.tracer.plain(self, "counts by"))

    def __int__(self) -> int:
        return int(self.tracer.plain(self, "counts by"))

    def __float__(self) -> float:
        return float(self.tracer.plain(self, "computes with"))


class _Attribute(Concrete, Attribute):
    """An attribute of a tensor, or a method that is about to be called."""

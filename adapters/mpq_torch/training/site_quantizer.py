"""SiteQuantizer: the fake-quantizer at a site of a training graph; what it quantizes to, its bank knows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mpq_plugins.grid import Grid
from mpq_plugins.training.slot import Slot
from mpq_torch.torch_ao.framework import FakeQuantizeBase
from mpq_torch.training.bank_rows import Row
from mpq_torch.training.grid_bank import GridBank


class SiteQuantizer(FakeQuantizeBase):
    """One group of a bank. torch.ao's enable_fake_quant and disable_fake_quant apply.

    Whether it is enabled is a plain attribute: a look at torch.ao's buffer would wait for the device.
    """

    def __init__(self, bank: GridBank, index: int) -> None:
        super().__init__()
        self._home = (bank,)  # in a tuple: a module of the graph itself
        self.index, self.enabled = index, True
        for name in ("fake_quant_enabled", "observer_enabled"):
            del self._buffers[name]

    @property
    def bank(self) -> GridBank:
        """The bank of the group."""
        return self._home[0]

    @property
    def slot(self) -> Slot:
        """The group."""
        return self.bank.plain.slots[self.index]

    def forward(self, x: Tensor, row: Row) -> Tensor:  # type: ignore[override]  # the graph has the row at hand
        """x on the grid of its row, which its bank gave for this forward pass.

        An overflow of half precision becomes not a number, which reaches the output and is found there; as
        infinity it would saturate, and nobody would hear of it.
        """
        if not self.enabled:
            return x
        if x.dtype == torch.float16 and self.training:
            x = x + (x - x).detach()
        return self.bank.put(self.index, x, row)

    def grid(self) -> Grid:
        """The grid at which the group stands."""
        return self.bank.harden()[self.index]

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Quantize, or let values pass."""
        self.enabled = bool(enabled)

    def enable_observer(self, enabled: bool = True) -> None:
        """Nothing: grids are trained."""

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """(scale, zero_point) of the grid."""
        steps = torch.tensor(self.grid().steps, dtype=torch.float32)
        return steps, torch.zeros(len(steps), dtype=torch.int64)

    def extra_repr(self) -> str:
        return f"{self.slot.name}, bits {self.slot.bits}"

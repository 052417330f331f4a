"""Grids: what a method returns of a bank, and how a tensor is put on its part of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mpq_plugins.array_ops.protocol import DELTA, STRAIGHT_THROUGH, Array, Ops
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.layout import Extent


@dataclass(frozen=True)
class Grids:
    """One grid for every group of a bank: ``step * clip(round(x / step), low, high)``.

    step: rows of ``step_extent``. low, high, and what ``more`` holds for a quantizer of the method's own:
    rows of ``code_extent``. share: [channel], where a tensor is a sum over several grids, each times its
    share; None where it has one. rounding, delta, strict, clip_first: as ops.fake_quantize takes them.
    """

    step: Array
    low: Array
    high: Array
    step_extent: Extent = "channel"
    code_extent: Extent = "channel"
    share: Array | None = None
    more: Mapping[str, Array] = field(default_factory=dict)
    rounding: str = STRAIGHT_THROUGH
    delta: float = DELTA
    strict: bool = False
    clip_first: bool = False

    def of(self, ops: Ops, bank: Bank, index: int) -> Grids:
        """The grid of one group, in arrays that broadcast against its tensor."""

        def part(values: Array, extent: Extent) -> Array:
            layout = bank.layout
            return ops.reshape(values[layout.rows(extent, index)], layout.view_shape(extent, index))

        return replace(
            self,
            step=part(self.step, self.step_extent),
            low=part(self.low, self.code_extent),
            high=part(self.high, self.code_extent),
            share=None if self.share is None else part(self.share, "channel"),
            more={name: part(values, self.code_extent) for name, values in self.more.items()},
        )

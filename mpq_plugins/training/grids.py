"""Grids: what a method returns of a bank, and how a tensor is put on its part of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mpq_plugins.ops import Array, Ops
from mpq_plugins.surrogates import DELTA, STRAIGHT_THROUGH
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.layout import Extent

if TYPE_CHECKING:
    from mpq_plugins.training.method import TrainingMethod


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


def on_grids(ops: Ops, method: TrainingMethod, bank: Bank, index: int, grids: Sequence[Grids], tensor: Array) -> Array:
    """The tensor of one group of a bank, on what ``grids`` gives it."""
    total: Array = 0.0
    for grid in grids:
        own = grid.of(ops, bank, index)
        if method.has_own_quantizer(bank):
            outcome = method.quantize_tensor(ops, tensor, own)
        else:
            options = own.rounding, own.delta, own.strict, own.clip_first
            outcome = ops.fake_quantize(tensor, own.step, own.low, own.high, *options)
        if own.share is None:
            return outcome
        total = total + own.share * outcome
    return total

"""Rows: what a tensor needs to know of its bank's grids, and how it is put on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from mpq_plugins.grid import Grid
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.method import TrainingMethod, on_grids
from mpq_torch.array_ops.autograd import applied
from mpq_torch.array_ops.mixture import mixed
from mpq_torch.array_ops.ops import TORCH
from mpq_torch.array_ops.rounding_function import PLAIN, Rounding, on_grid, on_rows
from mpq_torch.training.energies import Watched

Shape = tuple[int, ...]


class Row(NamedTuple):
    """One group's part of its bank's grids.

    parts: step, low and high of each grid, [rows]; numbers: instead, of a fixed grid of one step.
    shares: of each grid, [rows]. probe: see rounding_function.on_rows. grids: all of the bank's, for a
    quantizer of the method's own. energy: see energies.Watched.
    """

    parts: tuple[tuple[Tensor, ...], ...] = ()
    shapes: tuple[Shape, Shape, Shape] = ((), (), ())
    numbers: tuple[float, float, float] | None = None
    codes: tuple[float, float] | None = None
    shares: tuple[Tensor, ...] = ()
    rounding: Rounding = PLAIN
    probe: Tensor | None = None
    grids: Sequence[Grids] = ()
    energy: Tensor | None = None


def fixed_rows(bank: Bank, grids: Sequence[Grid], held: Mapping[str, Tensor]) -> list[Row]:
    """The rows of every group, in order. grids: fixed ones, by group."""
    return [_fixed(bank, index, grid, held) for index, grid in enumerate(grids)]


def rows_of(bank: Bank, moment: Sequence[Grids], probe: Tensor | None = None) -> list[Row]:
    """The rows of every group, in order. moment: the grids at which the method trains."""
    layout, first = bank.layout, moment[0]
    pieces = []
    for grid in moment:
        split = [grid.step.split(layout.counts(grid.step_extent))]
        split += [code.split(layout.counts(grid.code_extent)) for code in (grid.low, grid.high)]
        pieces.append(split)
    shares = [grid.share.split(layout.counts("channel")) for grid in moment if grid.share is not None]
    probes = None if probe is None else probe.split(layout.counts("element"))
    rounding = Rounding(first.rounding, first.delta, first.strict, first.clip_first)
    found = []
    for index in range(len(bank.slots)):
        code_shape = layout.view_shape(first.code_extent, index)
        found.append(
            Row(
                tuple((step[index], low[index], high[index]) for step, low, high in pieces),
                (layout.view_shape(first.step_extent, index), code_shape, code_shape),
                shares=tuple(share[index] for share in shares),
                rounding=rounding,
                probe=None if probes is None else probes[index],
                grids=moment,
            )
        )
    return found


def put_on(method: TrainingMethod, index: int, x: Tensor, row: Row, bank: Callable[[], Bank]) -> Tensor:
    """x on the grid of its row."""
    y = _put_on(method, index, x, row, bank)
    return y if row.energy is None else applied(Watched, y, row.energy)


def _put_on(method: TrainingMethod, index: int, x: Tensor, row: Row, bank: Callable[[], Bank]) -> Tensor:
    if row.numbers is not None:
        return on_grid(x, row.numbers)
    if row.grids and method.has_own_quantizer(bank()):
        y: Tensor = on_grids(TORCH, method, bank(), index, row.grids, x)
        return y
    if row.shares:
        return mixed(x, row.parts, row.shares, row.shapes, row.rounding)
    return on_rows(x, row.parts[0], row.shapes, row.rounding, row.probe, row.codes)


def _fixed(bank: Bank, index: int, grid: Grid, held: Mapping[str, Tensor]) -> Row:
    codes = float(grid.low), float(grid.high)
    if len(grid.steps) == 1:
        return Row(numbers=(float(np.float32(grid.step)), *codes))
    shape = bank.layout.view_shape("channel", index)
    return Row(parts=((held[f"steps {index}"],),), shapes=(shape, (), ()), codes=codes)

"""What candidates of a wide weight cost, by what feedback leaves: no code is kept, and nothing is searched in full.

The predicted loss ``1/2 tr(F dW A dW^T)`` is a sum over inputs of squares that feedback computes on its way,
weighted by a factor of F. Descent would lower it by a share that differs between layers and bit-widths more than
between rows; so it is measured on some rows, and taken for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from mpq_plugins.grid import Grid
from mpq_plugins.rounding.choice import CLOSE, Kind, levels_of
from mpq_plugins.rounding.factor import Factor, Single, check_finite
from mpq_plugins.rounding.feedback import feedback
from mpq_plugins.rounding.levels import Levels
from mpq_plugins.rounding.moments.layer_moments import Array, by_group
from mpq_plugins.rounding.row_parts import ELEMENTS, LEAST
from mpq_plugins.rounding.search import in_steps, search_codes

_SAMPLE = 32
"""Rows on which descent is tried."""
_HOPELESS = 3.0
"""Squared error after rounding to nearest, beside that of the best step, from which hardly any step is made the best
by compensation."""
_SURE_RANK = 2.0**-22
"""Of the largest importance: what float32 products of gradients leave in doubt."""


@dataclass(frozen=True)
class Rating:
    """A kind's best grid, its error ``sum_r importance_r d_r A d_r^T``, and the loss; infinite without a Fisher."""

    grid: Grid
    error: float
    loss: float


@dataclass(frozen=True)
class _Finalist:
    """Steps of a kind, errors after feedback, both [groups, rows], and the loss of these errors."""

    kind: Kind
    steps: Array
    errors: Array
    loss: float


def rate_each(
    weight: NDArray[Any],
    factor: Factor,
    kinds: Sequence[Kind],
    fisher: Array | None,
    sweeps: int = 2,
    each: Callable[[Callable[[Kind], list[_Finalist]], Sequence[Kind]], Iterable[list[_Finalist]]] = map,
) -> list[Rating]:
    """For each kind its best grid (axis 0 if per channel), and what it costs.

    weight: [out, in]. fisher: F, [out, out]; None weighs all rows alike. kinds: as of choice.choose_each; of their
    steps those are left out that are _HOPELESS. each: as ``map``, which may work on kinds side by side.
    """
    check_finite("weight", weight)
    check_finite("importance of rows", np.ones(1) if fisher is None else fisher)
    groups = factor.shape[0]
    rows = by_group(weight, groups)
    importance = np.ones(rows.shape[:2]) if fisher is None else fisher.diagonal().reshape(rows.shape[:2])
    roots = None if fisher is None else _roots(fisher, groups)
    finalists = list(each(lambda kind: _finalists(rows, factor, kind, importance, roots), kinds))
    shares = iter(_shares_of_descent(rows, factor, [f for own in finalists for f in own], importance, sweeps))
    return [_best(own, [next(shares) for _ in own], importance) for own in finalists]


def _finalists(
    rows: NDArray[Any], factor: Factor, kind: Kind, importance: Array, roots: Array | None
) -> list[_Finalist]:
    """One per channel; for a tensor the step that is best after feedback, and those that are close."""
    groups, count, _ = rows.shape
    steps = kind.by_row(groups * count).reshape(-1, groups, count)
    kept = _hopeful(rows, steps, kind, importance)
    some = kept.any(axis=(1, 2))
    steps, kept = steps[some], kept[some]
    errors, losses = _after_feedback(rows, factor, kind, steps, kept, roots)
    if kind.per_channel:
        best = errors.argmin(axis=0)[None]
        own, left = (np.take_along_axis(array, best, 0)[0] for array in (steps, errors))
        return [_Finalist(kind, own, left, float(losses[0]))]
    totals = np.sum(errors * importance, axis=(1, 2))
    close = np.flatnonzero(totals <= totals.min() * CLOSE)
    return [_Finalist(kind, steps[k], errors[k], float(losses[k])) for k in close.tolist()]


def _best(finalists: Sequence[_Finalist], shares: Sequence[float], importance: Array) -> Rating:
    """Of a kind's finalists the one that descent leaves the least error. shares: what it leaves of each."""
    totals = [float(np.sum(f.errors * importance)) * share for f, share in zip(finalists, shares, strict=True)]
    k = int(np.argmin(totals))
    kind, steps = finalists[k].kind, finalists[k].steps.reshape(-1)
    own, axis = (steps, 0) if kind.per_channel else (steps[:1], None)
    return Rating(Grid(kind.bits, tuple(own), True, kind.narrow, axis), totals[k], finalists[k].loss * shares[k])


def _hopeful(rows: NDArray[Any], steps: Array, kind: Kind, importance: Array) -> NDArray[np.bool_]:
    """Which steps may be a row's best, [candidates, groups, rows]; of the rows of all groups alike."""
    plain = np.empty(steps.shape)
    groups, count, size = rows.shape
    together = max(1, ELEMENTS // (size * groups))
    for start in range(0, count, together):
        some = slice(start, start + together)
        for step, error in zip(steps[:, :, some], plain[:, :, some], strict=True):
            codes = in_steps(rows[:, some], step)
            rounded = np.rint(codes)
            np.clip(rounded, kind.low, kind.high, out=rounded)
            rounded -= codes
            error[...] = np.einsum("gri,gri->gr", rounded, rounded) * step**2
    if not kind.per_channel:
        plain = np.broadcast_to(np.sum(plain * importance, axis=(1, 2), keepdims=True), plain.shape)
    kept = plain <= _HOPELESS * plain.min(axis=0)
    return np.broadcast_to(kept.any(axis=1, keepdims=True), kept.shape)


def _after_feedback(
    rows: NDArray[Any], factor: Factor, kind: Kind, steps: Array, kept: NDArray[np.bool_], roots: Array | None
) -> tuple[Array, Array]:
    """Errors [candidates, groups, rows], infinite where not kept, and losses.

    Losses: [1] of every row at its best step, per channel; else [candidates].
    """
    candidates, groups, count = steps.shape
    errors = np.full(steps.shape, np.inf)
    sums = _Sums(factor, roots, 1 if kind.per_channel else candidates, float(steps.max()))
    together = max(1, max(ELEMENTS // factor.shape[1], LEAST) // (candidates * groups))
    for start in range(0, count, together):
        which, of = np.nonzero(kept[:, 0, start : start + together])
        of = of + start
        step = steps[which, :, of].T  # [groups, pairs]
        levels = levels_of(step, kind)
        columns = factor.ordered(in_steps(rows[:, of], step))
        left = feedback(columns, factor, levels.low.astype(np.float32), levels.high.astype(np.float32)).left
        errors[which, :, of] = (factor.squared(left) * step**2).T
        if kind.per_channel:
            best = errors[:, :, start : start + together].argmin(axis=0)  # [groups, rows]
            pair = np.zeros((candidates, count), np.intp)
            pair[which, of] = np.arange(len(of))
            places = pair[best, np.arange(start, start + best.shape[1])]
            sums.add(0, np.take_along_axis(left, places[None], 2), start, np.take_along_axis(step, places, 1))
        else:
            for k in range(candidates):
                sums.add(k, left[:, :, which == k], start, step[:, which == k])
    return errors, sums.losses()


class _Sums:
    """``sum_r root_rk step_r left_jr`` for inputs j, all there is to a loss: one for each candidate."""

    def __init__(self, factor: Factor, roots: Array | None, candidates: int, largest: float) -> None:
        self.factor, self.roots = factor, roots
        if roots is not None:
            self.scale = float(np.ldexp(1.0, -int(np.frexp(np.abs(roots).max(initial=0.0) * largest)[1])))
            shape = (candidates, len(roots), factor.shape[1], roots.shape[2])
            self.parts: Single = np.zeros(shape, np.float32)
        self.candidates = candidates

    def add(self, candidate: int, left: Single, start: int, step: Array) -> None:
        """Rows from ``start`` on; left: [in, groups, rows], step: [groups, rows]."""
        if self.roots is not None:
            by = self.roots[:, start : start + step.shape[1]] * (step * self.scale)[:, :, None]
            self.parts[candidate] += np.matmul(left.transpose(1, 0, 2), by.astype(np.float32))

    def losses(self) -> Array:
        if self.roots is None:
            return np.full(self.candidates, np.inf)
        found = np.zeros(self.candidates)
        for k, part in enumerate(self.parts):
            by_group = np.einsum("gjk,gjk,jg->g", part, part, self.factor.weights, dtype=np.float64)
            found[k] = 0.5 * float(by_group @ self.factor.unit) / self.scale**2
        return found


def _shares_of_descent(
    rows: NDArray[Any], factor: Factor, finalists: Sequence[_Finalist], importance: Array, sweeps: int
) -> list[float]:
    """What descent leaves of the error after feedback, by some rows of every group."""
    groups, count, _ = rows.shape
    sample = np.arange(0, count, max(1, groups * count // _SAMPLE))
    all_levels = [levels_of(f.steps[:, sample], f.kind) for f in finalists]
    levels = Levels(*(np.concatenate([getattr(lv, name) for lv in all_levels], 1) for name in ("step", "low", "high")))
    of = np.tile(sample, len(finalists))
    codes = search_codes(rows, factor, levels, sweeps, of=of)
    after = factor.errors_of_rows(codes * levels.step[:, :, None] - rows[:, of]).reshape(groups, len(finalists), -1)
    weights, shares = importance[:, sample], []
    for index, finalist in enumerate(finalists):
        before = float(np.sum(weights * finalist.errors[:, sample]))
        shares.append(min(1.0, float(np.sum(weights * after[:, index])) / before) if before > 0 else 1.0)
    return shares


def _roots(fisher: Array, groups: int) -> Array:
    """R with R R^T = F for the blocks of F within groups, [groups, rows, rank], but for what is noise."""
    count = len(fisher) // groups
    found: list[tuple[NDArray[np.intp], Array]] = []
    for group in range(groups):
        part = slice(group * count, (group + 1) * count)
        block = np.array(fisher[part, part], order="F")
        largest = float(block.diagonal().max())
        if largest <= 0:
            found.append((np.arange(count), np.zeros((count, 1))))
            continue
        lower, order, rank, _ = scipy.linalg.lapack.dpstrf(block, tol=_SURE_RANK * largest, lower=1, overwrite_a=1)
        found.append((order - 1, np.tril(lower[:, :rank])))
    roots = np.zeros((groups, count, max(lower.shape[1] for _, lower in found)))
    for root, (order, lower) in zip(roots, found, strict=True):
        root[order, : lower.shape[1]] = lower
    return roots

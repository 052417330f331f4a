"""The multiple-choice knapsack as arrays: one column of every block, under shared limits.

A block is a decision: the columns of a group of sites are its candidates. Where the cost of two
decisions multiplies, a further block holds the pairs of their candidates ("products"); a product is
taken exactly where both its ends are, which makes the programme linear without changing it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Columns = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Knapsack:
    """Minimise the loss of the chosen columns; choices come first, products after them.

    loss: [choices], finite.
    block: [columns], ascending: which block a column belongs to.
    ends: [products, 2]: the two choices that a product joins, by column.
    rows: [rows, columns], sparse, 0 or more: costs. A linear cost of a choice stands at the choice,
        a cost of two choices at their product.
    limits: [rows]: the most that the costs of a row may sum to; a sum above it by a rounding error is
        above it, so the caller leaves room for that.
    """

    loss: Floats
    block: Columns
    ends: Columns
    rows: sparse.csc_matrix
    limits: Floats

    @property
    def choices(self) -> int:
        """Number of columns that are decisions; the others are products."""
        return len(self.loss)

    @property
    def columns(self) -> int:
        """Number of columns, products included."""
        return len(self.block)

    @cached_property
    def starts(self) -> Columns:
        """[blocks]: the first column of every block."""
        return np.flatnonzero(np.diff(self.block, prepend=-1))

    @property
    def blocks(self) -> int:
        """Number of blocks, products included."""
        return len(self.starts)

    @cached_property
    def decisions(self) -> int:
        """Number of blocks of choices."""
        return int(np.count_nonzero(self.starts < self.choices))

    @cached_property
    def lowest(self) -> Floats:
        """[decisions]: the lowest loss of every decision."""
        return np.asarray(np.minimum.reduceat(self.loss, self.starts[: self.decisions]))

    @cached_property
    def regret(self) -> Floats:
        """[choices]: loss above the lowest of the same decision."""
        return self.loss - self.lowest[self.block[: self.choices]]

    def lowest_loss(self) -> Columns:
        """[decisions]: the first column of lowest loss of every decision."""
        at_lowest = np.flatnonzero(self.regret == 0)
        _, first = np.unique(self.block[at_lowest], return_index=True)
        return np.asarray(at_lowest[first])

    def indicator(self, chosen: Columns) -> Floats:
        """[columns]: 1 at the chosen columns and at the products that they imply, 0 elsewhere."""
        taken = np.zeros(self.choices)
        taken[chosen] = 1.0
        return np.concatenate([taken, taken[self.ends[:, 0]] * taken[self.ends[:, 1]]])

    def activity(self, chosen: Columns) -> Floats:
        """[rows]: what the chosen columns cost."""
        return np.asarray(self.rows @ self.indicator(chosen))

    def meets(self, activity: Floats) -> bool:
        """Whether every row's sum is within its limit."""
        return bool(np.all(activity <= self.limits))

    @cached_property
    def links(self) -> sparse.csr_matrix:
        """[links, columns]: products of one block with one end sum to that end; each row equals 0."""
        products = np.arange(self.choices, self.columns)
        rows, columns, values, count = [], [], [], 0
        for side in (0, 1):
            key = self.block[self.choices :].astype(np.int64) * (self.choices + 1) + self.ends[:, side]
            _, first, row = np.unique(key, return_index=True, return_inverse=True)
            rows += [count + row.ravel(), count + np.arange(len(first))]
            columns += [products, self.ends[first, side]]
            values += [np.ones(len(products)), -np.ones(len(first))]
            count += len(first)
        where = (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_matrix((np.concatenate(values), where), shape=(count, self.columns))

    def restrict(self, keep: NDArray[np.bool_]) -> tuple[Knapsack, Columns] | None:
        """The knapsack of the kept columns and their old places; None where a block has none left.

        A product whose end goes, goes too.
        """
        keep = keep.copy()
        keep[self.choices :] &= keep[self.ends[:, 0]] & keep[self.ends[:, 1]]
        if not np.all(np.logical_or.reduceat(keep, self.starts)):
            return None
        place = np.cumsum(keep) - 1
        old = np.flatnonzero(keep)
        ends = place[self.ends[keep[self.choices :]]]
        kept = Knapsack(self.loss[keep[: self.choices]], self.block[keep], ends, self.rows[:, old], self.limits)
        return kept, old

    def affordable(self, limits: Floats) -> tuple[Knapsack, Columns] | None:
        """Without the columns that cost more than limits [rows] by themselves; see ``restrict``."""
        keep = np.ones(self.columns, dtype=bool)
        costs = self.rows.tocoo()
        keep[costs.col[costs.data > limits[costs.row]]] = False
        return self.restrict(keep)

    def settle(self) -> tuple[Columns, Columns, Knapsack]:
        """The columns that have no alternative, the other columns, and the knapsack of those.

        A column that is the end of a product stays, alternative or not.
        """
        alone = np.bincount(self.block, minlength=self.blocks)[self.block] == 1
        alone[self.choices :] = False
        alone[self.ends.ravel()] = False
        settled, left = np.flatnonzero(alone), np.flatnonzero(~alone)
        place = np.cumsum(~alone) - 1
        block = np.unique(self.block[left], return_inverse=True)[1].ravel()
        limits = self.limits - np.asarray(self.rows[:, settled].sum(axis=1)).ravel()
        problem = Knapsack(self.loss[~alone[: self.choices]], block, place[self.ends], self.rows[:, left], limits)
        return settled, left, problem

    def swaps(self, chosen: Columns) -> Swaps:
        """What changes when one decision takes another candidate and all others stay."""
        current = chosen[self.block[: self.choices]]
        taken = np.zeros(self.choices, dtype=bool)
        taken[chosen] = True
        marginal: Any = self.rows[:, : self.choices]
        if len(self.ends):
            at, to = [], []
            for side in (0, 1):
                live = np.flatnonzero(taken[self.ends[:, 1 - side]])
                at.append(live)
                to.append(self.ends[live, side])
            places = (np.concatenate(at), np.concatenate(to))
            onto = sparse.csc_matrix(
                (np.ones(len(places[0])), places), shape=(self.columns - self.choices, self.choices)
            )
            marginal = marginal + self.rows[:, self.choices :] @ onto
        marginal = marginal.tocsc()
        change = (marginal - marginal[:, current]).tocsc()
        column = np.repeat(np.arange(self.choices), np.diff(change.indptr))
        room = self.limits - self.activity(chosen)
        fits = np.ones(self.choices, dtype=bool)
        fits[column[change.data > room[change.indices]]] = False
        frees = np.ones(self.choices, dtype=bool)
        frees[column[change.data > 0]] = False
        return Swaps(self.loss - self.loss[current], change, fits, frees)


@dataclass(frozen=True, eq=False)
class Swaps:
    """For every choice: what taking it instead of its decision's present one changes.

    loss: [choices] change of the loss.
    costs: [rows, choices], sparse: change of every row's sum.
    fits: [choices] whether the result meets all limits.
    frees: [choices] whether no row's sum grows.
    """

    loss: Floats
    costs: sparse.csc_matrix
    fits: NDArray[np.bool_]
    frees: NDArray[np.bool_]

"""Moments of what a layer reads, about a pivot, so that a covariance is no small difference of large numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import EmptyCalibration
from mpq_plugins.rounding.moments.layer_moments import DAMPING, Array, FewColumns
from mpq_plugins.rounding.thin import few

NOISE = 8 * 2.0**-24
"""Of the second moments about the pivot: what float32 products leave in doubt."""
RESOLUTION = 2.0**-22
"""Of the largest magnitude of an input: what float32 values themselves leave in doubt."""
_PLAIN = 30
"""Exponents of values, either way, whose products float32 holds without scaling."""


class InputMoments:
    """The covariance of a stream of columns.

    Columns are taken relative to the mean of the first update, in float32; their products are summed in
    float32 within an update and in float64 over updates. An input that varies by no more than rounding
    noise is constant: its row and column are zero. The rest is positive semidefinite up to noise, and
    where the noise could pass for more than DAMPING of the mean variance, as much is added to the
    variances, so that with damping the matrix is positive definite. As long as columns are few beside the inputs,
    they are kept as they are, and no product is made.

    >>> moments = InputMoments()
    >>> moments.update(np.array([[[1e5, 1e5 + 2], [3.0, 3.0]]], dtype=np.float32))
    >>> moments.covariance()
    array([[[1., 0.],
            [0., 0.]]])
    """

    def __init__(self) -> None:
        self._count = 0
        self._scale = 1.0
        self._pivot: NDArray[np.float32] | None = None
        self._gram: Array | None = None
        self._kept: list[NDArray[np.float32]] = []
        self._sum: Array = np.zeros(0)
        self._largest: Array = np.zeros(0)

    def update(self, columns: NDArray[Any]) -> None:
        """Add columns [groups, in, positions]."""
        x = np.asarray(columns, dtype=np.float32)
        largest = np.maximum(x.max(axis=2), -x.min(axis=2)).astype(np.float64)
        if self._pivot is None:
            self._pivot = x.mean(axis=2, keepdims=True, dtype=np.float64).astype(np.float32)
            self._scale = _scale(float(largest.max()))
            self._sum = self._largest = np.zeros(x.shape[:2])
        about = x - self._pivot
        if self._scale != 1.0:
            about *= np.float32(self._scale)
        self._sum = self._sum + about.sum(axis=2, dtype=np.float64)
        self._largest = np.maximum(self._largest, largest)
        self._count += x.shape[2]
        self._kept.append(about)
        if not few(self._count, x.shape[1]):
            self._gram = _with_products(self._gram, self._kept)
            self._kept = []

    def covariance(self) -> Array:
        """Float64 [groups, in, in]. Raises EmptyCalibration before the first update."""
        self._check()
        mean = self._sum / self._count
        # one copy, all else in place: of a wide layer it is most of the memory
        covariance = _with_products(None, self._kept) if self._gram is None else self._gram.copy()
        covariance /= self._count
        diagonal = np.einsum("gii->gi", covariance)
        second = diagonal.copy()
        for matrix, own in zip(covariance, mean, strict=True):
            for row, factor in zip(matrix, own, strict=True):
                row -= factor * own
        live = self._live(diagonal, second)
        covariance *= live[:, :, None]
        covariance *= live[:, None, :]
        diagonal += self._missing(diagonal, second, live)
        covariance /= self._scale**2
        return covariance

    def few_columns(self) -> FewColumns | None:
        """The same as a product of few columns and a diagonal; None where they are not few, or summed by now."""
        self._check()
        if self._gram is not None:
            return None
        columns = np.concatenate(self._kept, axis=2).astype(np.float64)
        second = np.einsum("gip,gip->gi", columns, columns) / self._count
        columns -= (self._sum / self._count)[:, :, None]
        variances = np.einsum("gip,gip->gi", columns, columns) / self._count
        live = self._live(variances, second)
        columns *= live[:, :, None] / (self._scale * np.sqrt(self._count))
        return FewColumns(columns, self._missing(variances * live, second, live) / self._scale**2)

    def state(self) -> dict[str, NDArray[Any]]:
        """All of it as arrays, which ``of_state`` takes back. Raises EmptyCalibration before the first update."""
        self._check()
        assert self._pivot is not None
        found = {"count": np.asarray(self._count), "scale": np.asarray(self._scale), "pivot": self._pivot}
        found |= {"sum": self._sum, "largest": self._largest}
        found |= {f"kept{index}": part for index, part in enumerate(self._kept)}
        return found if self._gram is None else {**found, "gram": self._gram}

    @classmethod
    def of_state(cls, state: Mapping[str, NDArray[Any]]) -> InputMoments:
        """The moments that ``state`` described. Raises KeyError."""
        found = cls()
        found._count, found._scale = int(state["count"]), float(state["scale"])
        found._pivot, found._sum, found._largest = state["pivot"], state["sum"], state["largest"]
        found._kept = [state[f"kept{index}"] for index in range(sum(name.startswith("kept") for name in state))]
        found._gram = state.get("gram")
        return found

    def _check(self) -> None:
        if not self._count:
            raise EmptyCalibration("moments need at least one calibration position")

    def _live(self, variances: Array, second: Array) -> NDArray[np.bool_]:
        """Which inputs vary by more than rounding noise. second: moments about the pivot."""
        return (variances > NOISE * second) & (variances > (RESOLUTION * self._scale * self._largest) ** 2)

    def _missing(self, variances: Array, second: Array, live: NDArray[np.bool_]) -> Array:
        """What noise could pass for more than DAMPING of the mean variance, [groups, in]."""
        noise = NOISE * np.sum(second * live, axis=1)
        return np.asarray(np.maximum(0.0, noise - DAMPING * variances.mean(axis=1))[:, None] * live)


def _with_products(total: Array | None, parts: list[NDArray[np.float32]]) -> Array:
    """The Gram matrices [groups, in, in] of columns added to a total, which is used up."""
    for part in parts:
        product = part @ part.transpose(0, 2, 1)
        total = product.astype(np.float64) if total is None else np.add(total, product, out=total)
    assert total is not None  # there is one part at least
    return total


def _scale(largest: float) -> float:
    """A power of two that brings values within the squares that float32 holds; 1 where they are."""
    exponent = int(np.frexp(largest)[1])
    return 1.0 if largest == 0 or abs(exponent) <= _PLAIN else float(np.ldexp(1.0, min(-exponent, 126)))

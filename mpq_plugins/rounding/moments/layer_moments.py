"""What a layer reads and what it should give: all that compensated rounding knows about the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import EmptyCalibration, MPQError, NonFiniteValues

Array = NDArray[np.float64]
DAMPING = 0.01
"""Of the mean variance of a layer's inputs: the ridge that keeps a weight near what it was."""


@dataclass(frozen=True)
class LayerMoments:
    """Averages, over calibration, of the columns x that a layer multiplies and the outputs y it should give.

    x is a column of the im2col matrix of the QUANTIZED input (for a linear layer, the input
    itself); y is the output that the layer should give there, bias included: the float layer's
    output on its float input and, where a residual add reads the output, plus the float residual
    minus the quantized one, so that the layer also makes up for the error of its partner.

    gram: E[x x^T], [groups, in, in] ([in, in] for one group), in = inputs of one group.
    input_mean: E[x], [groups, in] ([in] for one group).
    cross: E[y x^T], [out, in]; rows in the order of the weight, so group by group.
    output_mean: E[y], [out].

    Raises NonFiniteValues on NaN or infinity, MPQError when the shapes contradict each other.

    >>> moments = LayerMoments.measure(columns=[[1.0], [3.0]], outputs=[[2.0], [6.0]])
    >>> moments.covariance, moments.cross_covariance
    (array([[[1.]]]), array([[[2.]]]))
    """

    gram: Array
    input_mean: Array
    cross: Array
    output_mean: Array

    def __post_init__(self) -> None:
        gram, mean = (np.asarray(a, dtype=np.float64) for a in (self.gram, self.input_mean))
        gram = gram[None] if gram.ndim == 2 else gram
        mean = mean[None] if mean.ndim == 1 else mean
        cross, output_mean = (np.asarray(a, dtype=np.float64) for a in (self.cross, self.output_mean))
        groups, inputs = mean.shape
        fits = gram.shape == (groups, inputs, inputs) and cross.shape == (output_mean.size, inputs)
        if not fits or output_mean.ndim != 1 or output_mean.size % groups:
            shapes = ", ".join(str(a.shape) for a in (gram, mean, cross, output_mean))
            raise MPQError(
                f"moments of shapes {shapes} do not belong together;"
                " expected gram [groups, in, in], input_mean [groups, in], cross [out, in], output_mean [out]"
            )
        fields = {"gram": gram, "input_mean": mean, "cross": cross, "output_mean": output_mean}
        for name, array in fields.items():
            if not np.all(np.isfinite(array)):
                raise NonFiniteValues(f"{name} holds NaN or infinity: look for them in the calibration data")
            object.__setattr__(self, name, array)

    @classmethod
    def measure(cls, columns: ArrayLike, outputs: ArrayLike) -> LayerMoments:
        """Moments of columns [positions, in] (or [groups, positions, in]) and outputs [positions, out]."""
        x, y = np.asarray(columns, dtype=np.float64), np.asarray(outputs, dtype=np.float64)
        x = x[None] if x.ndim == 2 else x
        positions = x.shape[1]
        if not positions:
            raise EmptyCalibration("moments need at least one calibration position")
        grouped = y.reshape(positions, len(x), -1).transpose(1, 2, 0)
        return cls(
            gram=x.transpose(0, 2, 1) @ x / positions,
            input_mean=x.mean(axis=1),
            cross=(grouped @ x / positions).reshape(y.shape[1], -1),
            output_mean=y.mean(axis=0),
        )

    @classmethod
    def of_float_layer(cls, weight: ArrayLike, bias: ArrayLike, gram: ArrayLike, input_mean: ArrayLike) -> LayerMoments:
        """Moments when the wished output is the float layer's on the very same input.

        weight: [out, in]; bias: [out].
        """
        w, b = np.asarray(weight, dtype=np.float64), np.asarray(bias, dtype=np.float64)
        a, m = np.asarray(gram, dtype=np.float64), np.asarray(input_mean, dtype=np.float64)
        a = a[None] if a.ndim == 2 else a
        m = m[None] if m.ndim == 1 else m
        rows = by_group(w, len(a))
        output_mean = (rows @ m[:, :, None]).reshape(-1) + b
        repeated = np.repeat(m, rows.shape[1], axis=0)
        return cls(a, m, (rows @ a).reshape(w.shape) + b[:, None] * repeated, output_mean)

    @property
    def groups(self) -> int:
        """Number of groups; each reads inputs of its own."""
        return len(self.gram)

    @property
    def covariance(self) -> Array:
        """Of the input, [groups, in, in]; it alone counts: the bias makes up for any error in the mean."""
        product = self.input_mean[:, :, None] * self.input_mean[:, None, :]
        return np.subtract(self.gram, product, out=product)

    @property
    def cross_covariance(self) -> Array:
        """Of the wished output with the input, [groups, out / groups, in]."""
        means = self.output_mean.reshape(self.groups, -1, 1) * self.input_mean[:, None, :]
        return by_group(self.cross, self.groups) - means

    def regression(self, weight: ArrayLike, damping: float = DAMPING) -> tuple[Array, Array]:
        """The curvature A about the real-valued weight X that gives the wished output best, and B with X A = B.

        X minimises E|W x + b - y|^2 + ridge * |W - weight|^2 over W and b, ridge = damping times the
        mean variance of the inputs (one per group, 1 where nothing varies). For every other W the
        objective is larger by ``tr((W - X) A (W - X)^T)``, exactly; so rounding needs to know nothing else.

        weight: [out, in]. Returns A [groups, in, in] and B [groups, out / groups, in].
        """
        rows = by_group(np.asarray(weight, dtype=np.float64), self.groups)
        curvature = self.covariance
        mean = np.einsum("gii->gi", curvature).mean(axis=1)
        ridge = np.where(mean > 0, damping * mean, 1.0)
        np.einsum("gii->gi", curvature)[...] += ridge[:, None]
        return curvature, self.cross_covariance + ridge[:, None, None] * rows


@dataclass(frozen=True)
class FewColumns:
    """A curvature of few positions: ``own`` on the diagonal, and the products of ``columns``.

    columns: [groups, in, positions]; own: [groups, in], 0 or more.
    """

    columns: Array
    own: Array

    @property
    def mean_variance(self) -> Array:
        """The mean of the diagonal, [groups]."""
        return np.asarray(
            self.own.mean(axis=1) + np.einsum("gip,gip->g", self.columns, self.columns) / self.own.shape[1]
        )

    @property
    def whole(self) -> Array:
        """The matrix itself, [groups, in, in]."""
        product = self.columns @ self.columns.transpose(0, 2, 1)
        np.einsum("gii->gi", product)[...] += self.own
        return np.asarray(product)

    def damped(self, damping: float) -> FewColumns:
        """As the function ``damped`` makes it of the whole matrix."""
        mean = self.mean_variance
        return FewColumns(self.columns, self.own + np.where(mean > 0, damping * mean, 1.0)[:, None])


def by_group(rows: NDArray[Any], groups: int) -> NDArray[Any]:
    """[out, in] as [groups, out / groups, in]; raises MPQError when out is no multiple of groups."""
    if rows.ndim != 2 or len(rows) % groups:
        raise MPQError(f"a weight of shape {rows.shape} is no [out, in] matrix of {groups} equal groups")
    return rows.reshape(groups, -1, rows.shape[1])


def damped(curvature: ArrayLike, damping: float, overwrite: bool = False) -> Array:
    """``curvature + damping * mean diagonal * identity`` of each group; the identity where all is zero.

    overwrite: whether a float64 array may be changed, and be the result.
    """
    matrix = np.asarray(curvature, dtype=np.float64) if overwrite else np.array(curvature, dtype=np.float64)
    diagonal = np.einsum("...ii->...i", matrix)
    mean = diagonal.mean(axis=-1)
    diagonal += np.where(mean > 0, damping * mean, 1.0)[..., None]
    return matrix

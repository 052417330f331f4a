"""Cross-layer equalization by powers of two, for targets with one step per weight tensor.

Between two layers with a ReLU in between, channel c may be divided by any positive factor in the first
and multiplied by it in the second: the function stays the same, and the ranges of both weights even
out (1906.04721, section 4.1: the factor sqrt(r1 r2) / r2 makes both ranges equal). Ours: factors are
powers of two, so that no weight is rounded by it; a channel that reaches the upper bound of a ReLU6 on
the calibration data keeps its scale, and no other is scaled up to where it would; and no channel grows
past the largest activation that the tensor has anyway, so that the step of the activation stays.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import MPQError, NonFiniteValues

SWEEPS = 20


@dataclass(frozen=True)
class Link:
    """Two layers of which the second alone reads the first, channel by channel.

    first, second: their names. cap: the upper bound of the ReLU between them; None without one.
    """

    first: str
    second: str
    cap: float | None = None


def scale_exponents(
    first: ArrayLike, second: ArrayLike, largest: ArrayLike, cap: float | None = None
) -> NDArray[np.int64]:
    """The exponent k of each channel: divide the first layer's channel by 2**k, multiply the second's by it.

    first: largest magnitude of each output channel of the first weight; second: of each input channel of
    the second weight; largest: of each channel of the activation between them, on calibration data.
    All [channels]. A channel that is all zero in either weight keeps its scale.
    Raises NonFiniteValues, and MPQError when the lengths differ.

    >>> scale_exponents([4.0, 0.25], [1.0, 1.0], [8.0, 0.5])
    array([ 1, -1])
    >>> scale_exponents([4.0, 0.25], [1.0, 1.0], [8.0, 0.5], cap=6.0)
    array([ 0, -1])
    """
    r1, r2, peak = (np.asarray(a, dtype=np.float64) for a in (first, second, largest))
    if not r1.shape == r2.shape == peak.shape or r1.ndim != 1:
        raise MPQError(f"ranges of {r1.shape}, {r2.shape} and {peak.shape} channels do not belong together")
    if not all(np.all(np.isfinite(a)) for a in (r1, r2, peak)):
        raise NonFiniteValues("a range is NaN or infinite; equalization takes finite ones")
    live = (r1 > 0) & (r2 > 0)
    ratio = np.where(live, r1, 1.0) / np.where(live, r2, 1.0)
    wished = np.rint(np.log2(ratio) / 2)
    limit = float(peak.max(initial=0.0)) if cap is None else cap
    with np.errstate(divide="ignore"):
        # 2**-k times the peak must stay at or below the limit
        lowest = np.where(peak > 0, np.ceil(np.log2(np.where(peak > 0, peak, 1.0) / max(limit, 1e-300))), -np.inf)
    exponents = np.maximum(wished, lowest)
    if cap is not None:
        exponents = np.where(peak >= cap, 0.0, exponents)
    return np.asarray(np.where(live, exponents, 0.0), dtype=np.int64)


def equalize(
    links: Sequence[Link],
    outputs: MutableMapping[str, NDArray[np.float64]],
    inputs: MutableMapping[str, NDArray[np.float64]],
    largest: MutableMapping[str, NDArray[np.float64]],
    paired: Mapping[str, bool],
) -> dict[str, NDArray[np.int64]]:
    """Sweep over all links until nothing changes; returns the exponent of each link's channels, by its first layer.

    outputs, inputs: layer -> largest magnitude of each output and of each input channel of its weight;
    largest: layer -> of each channel of its activation. All are updated. paired: layer -> whether its
    input and output channels are the same ones (a depthwise convolution), so that ranges move together.
    """
    total = {link.first: np.zeros(len(outputs[link.first]), dtype=np.int64) for link in links}
    for _ in range(SWEEPS):
        moved = False
        for link in links:
            exponents = scale_exponents(outputs[link.first], inputs[link.second], largest[link.first], link.cap)
            if not exponents.any():
                continue
            moved = True
            factor = np.ldexp(1.0, exponents)
            total[link.first] += exponents
            outputs[link.first] = outputs[link.first] / factor
            largest[link.first] = largest[link.first] / factor
            inputs[link.second] = inputs[link.second] * factor
            if paired[link.first]:
                inputs[link.first] = inputs[link.first] / factor
            if paired[link.second]:
                outputs[link.second] = outputs[link.second] * factor
        if not moved:
            break
    return total

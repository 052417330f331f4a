"""Where hmq's search starts: the largest thresholds, and logits from the paper or from squared errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.thresholds.histogram import Histogram, as_floats, finite_range
from mpq_plugins.thresholds.search import error_table
from mpq_plugins.training.exponents import exponent_above
from mpq_plugins.training.slot import Observed, Slot

Array = NDArray[np.float64]


def largest_thresholds(slot: Slot, observed: Observed, moving: bool = False) -> Array:
    """t_max, [] or [channels]: the power of two at or above the largest magnitude; of weights, twice that.

    moving: of an activation, the moving average of the largest magnitudes of its batches instead.
    Zeros only: 1; in one channel among others, the smallest threshold of those.
    Raises NonFiniteValues.

    >>> from mpq_plugins.hardware.op_support import Candidate
    >>> slot = Slot("w", "weight", (2,), (Candidate(4, True, False),))
    >>> [float(largest_thresholds(slot, np.array([0.0, m]))) for m in (0.3, 1.0, 1.7)]
    [1.0, 2.0, 4.0]
    """
    if isinstance(observed, Histogram):
        most = observed.moving if moving else max(abs(observed.min), abs(observed.max))
        largest = np.float64(most if observed.count else 0.0)
    else:
        values = as_floats(observed)
        if values.size:
            finite_range(values)
        largest = np.abs(values).max(axis=slot.other_axes, initial=0.0).astype(np.float64)
    exponent = exponent_above(largest) + (slot.kind == "weight")
    nonzero = largest > 0
    fallback = exponent[nonzero].min() if np.any(nonzero) else 0
    return np.asarray(np.ldexp(1.0, np.where(nonzero, exponent, fallback)))


def logits_of_the_paper(random: np.random.Generator, bits: int, thresholds: int, probability: float) -> Array:
    """-U(0, 1) everywhere, and ln(p N / (1 - p)) for the first of the N pairs (released code).

    >>> round(float(logits_of_the_paper(np.random.default_rng(0), 8, 8, 0.95)[0, 0]), 4)
    7.1033
    """
    logits = -random.random((bits, thresholds))
    logits[0, 0] = np.log(probability * logits.size / (1.0 - probability))
    return np.asarray(logits)


def logits_by_error(
    slot: Slot,
    observed: Observed,
    base: Array,
    bits: Sequence[int],
    thresholds: int,
    power: float,
    probability: float,
) -> Array:
    """Logits whose thresholds, for each bit-width, are as likely as their squared error to the power ``-power``.

    The first bit-width has ``probability``, the others share the rest evenly.
    """
    shifts = -np.arange(thresholds)
    if isinstance(observed, Histogram):
        if not observed.count or observed.moments is None:
            errors = np.ones((len(bits), thresholds))
        else:
            top = int(np.log2(base))
            errors = error_table(observed, bits, shifts + top, slot.signed, narrow=slot.narrow).error
    else:
        relative = np.asarray(observed, dtype=np.float64) / slot.spread(NUMPY, base)
        errors = error_table(relative, bits, shifts, slot.signed, narrow=slot.narrow).error
    floor = 1e-6 * float(errors.max()) + np.finfo(np.float64).tiny
    rows = log_softmax(-power * np.log(errors + floor), axis=1)
    if len(bits) > 1:
        rows[0] += np.log(probability * (len(bits) - 1) / (1.0 - probability))
    return np.asarray(rows)

"""What the bits of a slot cost, as the gradients of the training itself predict it.

A change of a tensor by noise of mean square e raises the loss by 1/2 tr(F) e / n, with F the Fisher matrix of the
tensor's n elements; tr(F) is, but for the size of a batch, which all tensors share, what the squared gradients at the
tensor add up to in a training step. So half of that sum times the mean squared error of a grid rates every candidate
of every weight and activation in one unit (sensitivity.predicted_loss is the same with the correlations).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mpq_plugins.allocation.by_bits import non_increasing
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.weighted_points import Points
from mpq_plugins.training.slot import Observed, Slot
from mpq_plugins.training.starting_grid import least_error_grid

MEASURED_STEPS = 16
"""Steps before a choice is made whose gradients are added up."""

Losses = dict[str, dict[int, float]]
"""Slot -> bits -> predicted rise of the loss, in a unit that all slots share."""


def predicted_losses(
    slots: Sequence[Slot], observed: Mapping[str, Observed], energies: Mapping[str, float] | None = None
) -> Losses:
    """The predicted loss of every candidate.

    observed: by slot, the weight as it is now, or a Histogram of the activation. energies: by slot, squared gradients
    at the tensor, added up over its elements and averaged over steps. Where they are not known, noise of one share
    of a tensor's power counts as it does in the median of the others; in all, by the number of elements.
    Raises NonFiniteValues.
    """
    powers = {slot.name: _power(observed.get(slot.name)) for slot in slots}
    known = {
        name: energy * powers[name]
        for name, energy in (energies or {}).items()
        if np.isfinite(energy) and energy > 0 and powers.get(name, 0.0) > 0
    }
    usual = float(np.median(list(known.values()))) if known else None
    found: Losses = {}
    for slot in slots:
        seen, power = observed.get(slot.name), powers[slot.name]
        scale = known.get(slot.name, slot.elements if usual is None else usual)
        if len(slot.bits) == 1 or seen is None or not power:
            found[slot.name] = dict.fromkeys(slot.bits, 0.0)
            continue
        found[slot.name] = non_increasing({b: 0.5 * scale * least_error(slot, seen, b) / power for b in slot.bits})
    return found


def least_error(slot: Slot, observed: Observed, bits: int) -> float:
    """The mean squared error of the grid of these bits that fits a tensor best.

    >>> from mpq_plugins.hardware.op_support import Candidate
    >>> slot = Slot("w", "weight", (3,), (Candidate(2, True, False), Candidate(3, True, False)))
    >>> least_error(slot, np.array([-1.0, 0.5, 0.25]), 3)
    0.0
    """
    grid = least_error_grid(slot, observed, bits)
    if isinstance(observed, Histogram):
        return float(Points.of(observed).error(np.array([grid.step]), grid.low, grid.high)[0])
    return float(np.mean((grid.project(observed) - observed) ** 2))


def _power(observed: Observed | None) -> float:
    """The mean square of what was observed."""
    if observed is None or not (observed.count if isinstance(observed, Histogram) else observed.size):
        return 0.0
    if isinstance(observed, Histogram):
        points = Points.of(observed)
        return float((points.weights * points.values**2).sum() / points.total[0])
    return float(np.mean(np.square(np.asarray(observed, np.float64))))

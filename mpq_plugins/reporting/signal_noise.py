"""How far the simulated model's tensors lie from the float model's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

MOST = 200.0
"""Decibels that stand for tensors that are all but equal."""


class SignalToNoise:
    """Energies of signal and noise by site, added up over batches.

    >>> noise = SignalToNoise()
    >>> noise.add("fc", [10.0, 0.0], [9.0, 0.0])
    >>> noise.decibels()
    {'fc': 20.0}
    """

    def __init__(self) -> None:
        self._signal: dict[str, float] = {}
        self._noise: dict[str, float] = {}

    def add(self, site: str, reference: ArrayLike, simulated: ArrayLike) -> None:
        """Add a batch of a site: what it should be, and what it is."""
        wanted, got = np.asarray(reference, dtype=np.float64), np.asarray(simulated, dtype=np.float64)
        self._signal[site] = self._signal.get(site, 0.0) + float(np.sum(wanted**2))
        self._noise[site] = self._noise.get(site, 0.0) + float(np.sum((got - wanted) ** 2))

    def decibels(self) -> dict[str, float]:
        """10 log10(signal / noise) by site, at most MOST; 0 where there is noise and no signal."""
        found = {}
        for site, signal in self._signal.items():
            noise = self._noise[site]
            if signal == 0:
                found[site] = MOST if noise == 0 else 0.0
            else:
                found[site] = MOST if noise == 0 else min(MOST, 10 * math.log10(signal / noise))
        return found

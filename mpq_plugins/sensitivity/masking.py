"""mask: mask-guided estimation, after OHQ (arXiv 2309.01945): part of a layer is masked, and the outputs compared.

The paper's text was not at hand; what is known is "masking and KL divergence", one number per layer.
Fraction, kind of mask, seeds and direction are therefore arguments, and their defaults are ours.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from mpq_plugins.errors import MPQError
from mpq_plugins.inventory import Site
from mpq_plugins.rounding.moments.layer_moments import Array
from mpq_plugins.search_input import Problem
from mpq_plugins.sensitivity.rating import Direction, Rates, grid_of, output_distance, outputs_with
from mpq_plugins.terminal.progress import track

Mask = Literal["random", "magnitude", "quantized"]
Gain = Literal["linear", "noise"]


@dataclass(frozen=True)
class MaskGuided:
    """``Omega_i``: KL divergence of the outputs when a fraction of layer i's weight is masked.

    fraction: of the elements, 0 to 1. mask: "random" elements become 0, those of least "magnitude" do,
        or random ones take their "quantized" value at the fewest candidate bits.
    seeds: random masks to average over (the magnitude mask is one). direction: of the divergence.
    gain: how the one number becomes one for each number of bits b, where B is the most of any site:
        "linear" is the paper's Omega * b, as a cost Omega * (1 - b / B); "noise" is
        Omega * (4^-b - 4^-B) / (4^-least - 4^-B), the power of quantization noise (ours).
    An activation is masked as a weight is. Raises MPQError on arguments that make no sense.
    """

    fraction: float = 0.1
    mask: Mask = "random"
    seeds: int = 2
    direction: Direction = "forward"
    temperature: float = 1.0
    gain: Gain = "linear"
    name: str = "mask"

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise MPQError(f"the fraction of masked elements is from 0 to 1, got {self.fraction}")
        for name, kinds in (("mask", Mask), ("direction", Direction), ("gain", Gain)):
            if getattr(self, name) not in get_args(kinds):
                raise MPQError(f"{name} is one of {', '.join(get_args(kinds))}, got {getattr(self, name)!r}")
        if self.seeds < 1:
            raise MPQError(f"masks are averaged over 1 seed or more, got {self.seeds}")

    def omega(self, problem: Problem, sites: Sequence[Site]) -> dict[str, float]:
        """The divergence of each site, 0 or more; exactly 0 where nothing is masked."""
        reference = outputs_with(problem, {})
        found = {}
        for site in track(list(sites), "masking layers", problem.progress):
            seeds = 1 if self.mask == "magnitude" or self.fraction == 0 else self.seeds
            distances = [
                output_distance(
                    reference,
                    outputs_with(problem, {site.name: self._masker(problem, site, seed)}),
                    self.direction,
                    self.temperature,
                )
                for seed in range(seeds)
            ]
            found[site.name] = float(np.mean(distances))
        return found

    def rate(self, problem: Problem, sites: Sequence[Site]) -> Rates:
        """See Sensitivity.rate."""
        bits = {site.name: [c.bits for c in problem.candidates[site.name]] for site in sites}
        return spread_over_bits(self.omega(problem, sites), bits, self.gain)

    def _masker(self, problem: Problem, site: Site, seed: int) -> Callable[[Array], Array]:
        rng = np.random.default_rng([seed, zlib.crc32(site.name.encode())])
        coarsest = grid_of(problem, site, problem.candidates[site.name][0]) if self.mask == "quantized" else None

        def masked(values: Array) -> Array:
            flat = np.array(values).reshape(-1)
            count = round(self.fraction * flat.size)
            if self.mask == "magnitude":
                chosen = np.argsort(np.abs(flat), kind="stable")[:count]
            else:
                chosen = rng.permutation(flat.size)[:count]
            instead = 0.0 if coarsest is None else coarsest.project(np.array(values)).reshape(-1)[chosen]
            flat[chosen] = instead
            return flat.reshape(values.shape)

        return masked


BEST_MASK = MaskGuided(fraction=1.0, mask="quantized", seeds=1)
"""All of a layer at its fewest bits: of this class, what ranks layers most like the true rise of the loss does."""


def spread_over_bits(omega: Mapping[str, float], bits: Mapping[str, Sequence[int]], gain: Gain = "linear") -> Rates:
    """One number per site as a cost for each of its bits: ``omega`` at none (linear) or the least, 0 at the most.

    >>> spread_over_bits({"a": 2.0, "b": 1.0}, {"a": (4, 8), "b": (4, 8)})
    {'a': {4: 1.0, 8: 0.0}, 'b': {4: 0.5, 8: 0.0}}
    """
    every = [b for options in bits.values() for b in options]
    least, most = min(every, default=1), max(every, default=1)
    if gain == "linear":
        return {site: {b: omega[site] * (1 - b / most) for b in bits[site]} for site in bits}
    span = 4.0**-least - 4.0**-most
    return {
        site: {b: omega[site] * (4.0**-b - 4.0**-most) / span if span else 0.0 for b in bits[site]} for site in bits
    }

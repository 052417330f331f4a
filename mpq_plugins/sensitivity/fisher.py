"""Which gradients to back-propagate so that their second moments are the Fisher information, without labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from mpq_plugins.errors import ModelError
from mpq_plugins.rounding.moments.chunks import GRAIN, grains
from mpq_plugins.rounding.moments.layer_moments import Array
from mpq_plugins.sensitivity.formulas import fisher_directions

SMALLEST_PROBABILITY = 1e-6
DRAWS = 4
"""Directions drawn for each sample: one is unbiased already, more lower the variance at a backward pass each."""
SHOWN = 5
"""Sites that an error lists before it says how many more there are."""
LARGEST_SPREAD = 16.0
"""Standard deviation of a sample's logits past which they are taken to be in another unit than nats."""


class FisherDirections:
    """Draws, for the outputs of a model, one random direction of the Fisher matrix of its own predictions.

    Rows of class scores are taken as logits, or as probabilities where they are such. Logits that spread by
    more than LARGEST_SPREAD, as those of no trained classifier do, are divided by a temperature, since a
    softmax that is sure of everything knows no errors. Any other output is taken to have Gaussian errors,
    as wide as it varies itself. Both are taken from the first chunk, and kept, so that all chunks count alike.

    The signs of a sample depend on the seed and on its place in the calibration set alone: they are the
    same in every framework, however the set is cut.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._spreads: dict[int, float] = {}
        self._temperatures: dict[int, float] = {}

    def draw(
        self, output: ArrayLike, index: int = 0, turn: int = 0, first: int = 0, samples: int | None = None
    ) -> Array:
        """The gradient to start from at one output, [rows, ...], channels in front of positions.

        index: which of the model's outputs. turn: which direction of each sample. first: number of the first
        sample in the calibration set. samples: how many the rows belong to, by default one each.

        >>> FisherDirections().draw(np.zeros((3, 2))).shape
        (3, 2)
        """
        values = np.asarray(output, dtype=np.float64)
        signs = self._signs(values.shape, (self._seed, index, turn), first, samples or len(values))
        if values.ndim != 2 or values.shape[1] < 2:
            spread = self._spreads.setdefault(index, float(values.std(ddof=1)) if values.size > 1 else 0.0)
            return np.asarray(signs / spread if spread > 0 else signs)
        if values.min(initial=0.0) >= 0 and np.allclose(values.sum(axis=1), 1.0, atol=1e-4):
            # the gradient that the softmax in front turns into a direction of its logits
            probabilities = np.maximum(values, SMALLEST_PROBABILITY)
            return fisher_directions(np.log(probabilities), signs) / probabilities
        temperature = self._temperatures.setdefault(index, temperature_of(values))
        return fisher_directions(values, signs, temperature) / temperature

    def state(self) -> dict[str, list[list[float]]]:
        """What was taken from the first chunk, for JSON; ``restore`` takes it back."""
        return {"spreads": _listed(self._spreads), "temperatures": _listed(self._temperatures)}

    def restore(self, state: Mapping[str, list[list[float]]]) -> None:
        """Go on with what ``state`` gave."""
        self._spreads = {int(index): value for index, value in state["spreads"]}
        self._temperatures = {int(index): value for index, value in state["temperatures"]}

    def _signs(self, shape: tuple[int, ...], key: tuple[int, ...], first: int, samples: int) -> Array:
        """+-1, drawn grain by grain for all its samples."""
        rows = shape[0] // samples if samples and shape[0] % samples == 0 else 0
        if not rows:  # rows that belong to no sample in particular
            return _drawn((*key, first // GRAIN), shape)
        parts = [
            _drawn((*key, run.grain), (GRAIN * rows, *shape[1:]))[run.first * rows :][: (run.stop - run.start) * rows]
            for run in grains(first, samples)
        ]
        return np.concatenate(parts)


def check_reached(reached: Mapping[str, bool]) -> None:
    """Raise ModelError, with their names, where a gradient is known not to reach some sites."""
    missed = [site for site, found in reached.items() if not found]
    if missed:
        more = f" and {len(missed) - SHOWN} more" if len(missed) > SHOWN else ""
        raise ModelError(
            f"no gradient of the model's outputs reaches {', '.join(missed[:SHOWN])}{more}, so nothing is known of "
            "what their bits cost; take the detach (no_grad, stop_gradient, argmax) out of the model for the search, "
            "or fix the bits of every site and give no budget"
        )


def temperature_of(logits: Array) -> float:
    """What to divide logits [samples, classes] by: 1 unless they spread by more than LARGEST_SPREAD.

    >>> temperature_of(np.array([[1.0, -1.0]])), temperature_of(np.array([[-1200.0, 1200.0]]))
    (1.0, 75.0)
    """
    return max(1.0, float(logits.std(axis=1).mean()) / LARGEST_SPREAD)


def _listed(by_index: Mapping[int, float]) -> list[list[float]]:
    return [[index, value] for index, value in by_index.items()]


def _drawn(key: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    return np.asarray(np.random.default_rng(key).integers(0, 2, shape) * 2.0 - 1.0)

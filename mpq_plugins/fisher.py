"""Which gradients to back-propagate so that their second moments are the Fisher information, without labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mpq_plugins.moments import Array
from mpq_plugins.sensitivity import fisher_directions

SMALLEST_PROBABILITY = 1e-6
DRAWS = 4
"""Directions drawn for each sample: one is unbiased already, more lower the variance at a backward pass each."""


class FisherDirections:
    """Draws, for the outputs of a model, one random direction of the Fisher matrix of its own predictions.

    Rows of class scores are taken as logits, or as probabilities where they are such. Any other
    output is taken to have Gaussian errors, as wide as it varies itself: its standard deviation in
    the first batch, kept, so that all batches count alike. The same seed gives the same directions
    in every framework.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = np.random.default_rng(seed)
        self._spreads: dict[int, float] = {}

    def draw(self, output: ArrayLike, index: int = 0) -> Array:
        """The gradient to start from at one output, [samples, ...]; index: which of the model's outputs.

        >>> FisherDirections().draw(np.zeros((3, 2))).shape
        (3, 2)
        """
        values = np.asarray(output, dtype=np.float64)
        signs = self._rng.integers(0, 2, values.shape) * 2.0 - 1.0
        if values.ndim != 2 or values.shape[1] < 2:
            spread = self._spreads.setdefault(index, float(values.std(ddof=1)) if values.size > 1 else 0.0)
            return np.asarray(signs / spread if spread > 0 else signs)
        if values.min(initial=0.0) >= 0 and np.allclose(values.sum(axis=1), 1.0, atol=1e-4):
            # the gradient that the softmax in front turns into a direction of its logits
            probabilities = np.maximum(values, SMALLEST_PROBABILITY)
            return fisher_directions(np.log(probabilities), signs) / probabilities
        return fisher_directions(values, signs)

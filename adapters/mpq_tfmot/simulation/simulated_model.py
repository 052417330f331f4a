"""What ``mpq_tfmot.simulate`` returns: the core's simulation, called as a Keras model is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins.graph.simulation import Simulation
from mpq_tfmot.calibration.batches import as_tensors

BATCH = 256


@dataclass(frozen=True)
class SimulatedModel(Simulation):
    """A function that computes exactly what the recipe's target computes in integers.

    ``simulated(x)`` gives what the integer model gives, as float32 tensors; ``predict(x)`` as NumPy arrays, batch by
    batch; ``sites(x)`` every site by name. x: an array, or a list of them, one for each input of the model, or a
    mapping of them by the inputs' names.
    """

    def __call__(self, inputs: Any) -> Any:
        """The outputs: one tensor, or a list of them. Raises ModelError for what the model does not take."""
        outputs = self.outputs(as_tensors(inputs, self.graph.arguments))
        return outputs[0] if len(outputs) == 1 else outputs

    def predict(self, inputs: Any, batch_size: int = BATCH) -> Any:
        """The outputs as NumPy arrays, computed batch by batch."""
        tensors = as_tensors(inputs, self.graph.arguments)
        parts = []
        for start in range(0, len(tensors[0]), batch_size):
            found = self.outputs([x[start : start + batch_size] for x in tensors])
            parts.append([np.asarray(value) for value in found])
        joined = [np.concatenate(p) for p in zip(*parts, strict=True)]
        return joined[0] if len(joined) == 1 else joined

    def sites(self, arguments: Any) -> dict[str, Any]:
        """The values of every activation site, as float32 tensors of grid values."""
        return super().sites(as_tensors(arguments, self.graph.arguments))

"""What ``mpq_tfmot.simulate`` returns: the core's simulation, called as a Keras model is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins.graph.simulation import Simulation
from mpq_tfmot.keras import tf

BATCH = 256


@dataclass(frozen=True)
class SimulatedModel(Simulation):
    """A function that computes exactly what the recipe's target computes in integers.

    ``simulated(x)`` gives what the integer model gives, as float32 tensors; ``predict(x)`` as NumPy arrays, batch by
    batch; ``sites(x)`` every site by name. x: an array, or a list of them, one for each input of the model, or a
    mapping of them by the inputs' names.
    """

    def __call__(self, inputs: Any) -> Any:
        """The outputs: one tensor, or a list of them."""
        outputs = self.outputs(as_tensors(self._listed(inputs)))
        return outputs[0] if len(outputs) == 1 else outputs

    def predict(self, inputs: Any, batch_size: int = BATCH) -> Any:
        """The outputs as NumPy arrays, computed batch by batch."""
        inputs = self._listed(inputs)
        arrays = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        parts = []
        for start in range(0, len(arrays[0]), batch_size):
            found = self.outputs(as_tensors([a[start : start + batch_size] for a in arrays]))
            parts.append([np.asarray(value) for value in found])
        joined = [np.concatenate(p) for p in zip(*parts, strict=True)]
        return joined[0] if len(joined) == 1 else joined

    def sites(self, arguments: Any) -> dict[str, Any]:
        """The values of every activation site, as float32 tensors of grid values."""
        return super().sites(as_tensors(self._listed(arguments)))

    def _listed(self, inputs: Any) -> Any:
        if not isinstance(inputs, Mapping):
            return inputs
        return [inputs[node.name] for node in self.graph.arguments]


def as_tensors(inputs: Any) -> Sequence[Any]:
    """The model's arguments as float32 tensors."""
    arrays = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    return tuple(x if tf.is_tensor(x) else tf.constant(np.asarray(x, np.float32)) for x in arrays)

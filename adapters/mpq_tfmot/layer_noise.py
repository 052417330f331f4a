"""The values of every activation site in the float model and in its simulation, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.recipe import Recipe
from mpq_tfmot.api import simulate
from mpq_tfmot.batches import Batch, in_chunks
from mpq_tfmot.canonical import canonicalize
from mpq_tfmot.canonical_ops import FLOAT, compute
from mpq_tfmot.keras import tf

Values = NDArray[np.float64]


def site_values(
    model: Any, on_grid: Any, recipe: Recipe, batches: Sequence[Batch]
) -> Iterator[tuple[str, Values, Values]]:
    """(site, values in the float model, values in the simulation) of every activation, batch after batch.

    model: the float model. on_grid: what constrain made of it for the recipe.
    """
    reference = canonicalize(model)
    simulation = simulate(on_grid, recipe)
    sites = [entry.site for entry in recipe.activations]
    for chunk in in_chunks(batches):
        floats: dict[str, Any] = dict(zip((op.name for op in reference.inputs), map(tf.constant, chunk), strict=True))
        for op in reference.ops:
            if op.kind not in ("input", FLOAT):
                floats[op.name] = compute(op, [floats[name] for name in op.inputs])
        integers = simulation.run(list(chunk))
        for site in sites:
            yield site, np.asarray(floats[site], np.float64), np.asarray(integers[site], np.float64)

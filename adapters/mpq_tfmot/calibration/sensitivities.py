"""Every sensitivity on one Keras model, to be compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mpq_plugins import plugins
from mpq_plugins.hardware.target import Target
from mpq_plugins.search.rated import rate_graph
from mpq_plugins.search_input import Bits
from mpq_plugins.sensitivity.rating import Rates, Sensitivity
from mpq_plugins.terminal.progress import stage
from mpq_tfmot.calibration.batches import as_chunks
from mpq_tfmot.reader.reading import read_model


def sensitivity(
    model: Any,
    calibration: Iterable[Any] | Any,
    target: str | Target,
    kinds: Iterable[str | Sensitivity] | None = None,
    weight_bits: Bits = None,
    activation_bits: Bits = None,
    *,
    per_channel: bool | None = None,
    progress: bool | None = None,
) -> dict[str, Rates]:
    """What each candidate of each site costs in accuracy, by several measures: measure -> site -> bits -> cost.

    kinds: names ("kl", "sqnr", "fisher", "mask", and those of plug-ins) or values with arguments of their own, such as
        mpq_plugins.sensitivity.masking.MaskGuided(fraction=0.2); None for all that have a name.
        Costs of one measure compare between sites; those of different measures have different units.
    The other arguments are those of ``search``; calibration may be made up (``synthetic_inputs``). Sites without a
    choice are left out.
    """
    found = plugins.target(target)
    with stage("reading the model", progress):
        reading = read_model(model, target=found)
    chunks = as_chunks(calibration, reading)
    return rate_graph(
        reading.graph, reading.runner, chunks, found, kinds, weight_bits, activation_bits, per_channel, progress
    )

"""Every sensitivity on one Keras model, to be compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mpq_plugins import plugins
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.hardware.target import Target
from mpq_plugins.search.measurement import Measurements
from mpq_plugins.search_input import Bits, Problem, candidates_for
from mpq_plugins.sensitivity.rating import Rates
from mpq_plugins.sensitivity.table import rate_all
from mpq_plugins.terminal.progress import stage
from mpq_tfmot.calibration.batches import as_chunks
from mpq_tfmot.reader.reading import read_model


def sensitivity(
    model: Any,
    calibration: Iterable[Any] | Any,
    target: str | Target,
    kinds: Iterable[Any] | None = None,
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
    measured = Measurements(reading.graph, take_sites(reading.graph), reading.runner, chunks, progress)
    measured.check_gradients()
    candidates = candidates_for(measured.inventory, found, weight_bits, activation_bits, per_channel)
    return rate_all(Problem(measured, found, candidates, None, plugins.cost_models(), progress=progress), kinds)

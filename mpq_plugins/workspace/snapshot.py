"""Snapshot: the numbers of a measured float model, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mpq_plugins.errors import MPQError
from mpq_plugins.inventory import Inventory
from mpq_plugins.rounding.moments.layer_moments import Array, FewColumns
from mpq_plugins.search_input import KeepsColumns, MeasuredModel
from mpq_plugins.stored.arrays import load_with_values, save_with_values
from mpq_plugins.stored.schema import Schema
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.workspace.command_protocol import Measured

_FORMAT: Literal[4] = 4
_OF_WEIGHTS = ("weight", "bias", "output_fisher")


class _Values(Schema):
    """What a snapshot holds beside its arrays; histograms as Histogram.to_dict describes them."""

    format: Literal[4] = _FORMAT
    inventory: Inventory
    histograms: dict[str, dict[str, Any]]
    energies: dict[str, float]
    framework: str


@dataclass(eq=False)
class Snapshot:
    """A MeasuredModel (mpq_plugins.search_input) that needs no framework any more.

    arrays: "<quantity>/<site>" -> array. histograms, energies: by activation site.
    framework: as in Measured.
    """

    inventory: Inventory
    arrays: Mapping[str, Array]
    histograms: Mapping[str, Histogram]
    energies: Mapping[str, float]
    framework: str

    @classmethod
    def of(cls, measured: Measured) -> Snapshot:
        """The numbers of a model that an adapter has just measured."""
        model = measured.model
        arrays = {
            f"{quantity}/{site.name}": np.asarray(values, dtype=np.float64)
            for site in model.inventory.weights
            for quantity, values in _quantities(model, site.name).items()
        }
        names = [site.name for site in model.inventory.activations]
        histograms = {name: model.histogram(name) for name in names}
        energies = {name: float(model.gradient_energy(name)) for name in names}
        return cls(model.inventory, arrays, histograms, energies, measured.framework)

    def weight(self, site: str) -> Array:
        """The weight of a layer, [out, in]."""
        return self.arrays[f"weight/{site}"]

    def bias(self, site: str) -> Array:
        """The bias of a weight's layer, [out]."""
        return self.arrays[f"bias/{site}"]

    def covariance(self, site: str) -> Array:
        """Covariance of the columns that the weight multiplies, [groups, in, in]."""
        few = self.few_columns(site)
        return self.arrays[f"covariance/{site}"] if few is None else few.whole

    def few_columns(self, site: str) -> FewColumns | None:
        """The covariance as what it comes of, where positions are few: mpq_plugins.search_input.KeepsColumns."""
        columns = self.arrays.get(f"columns/{site}")
        return None if columns is None else FewColumns(columns, self.arrays[f"own/{site}"])

    def output_fisher(self, site: str) -> Array:
        """Second moment of the loss gradient at the output of the weight's layer, [out, out]."""
        return self.arrays[f"output_fisher/{site}"]

    def histogram(self, site: str) -> Histogram:
        """The values of an activation."""
        return self.histograms[site]

    def gradient_energy(self, site: str) -> float:
        """Squared loss gradient at an activation, summed over its elements, averaged over samples."""
        return self.energies[site]

    def save(self, path: Path) -> None:
        """Write all of it or nothing; raises OSError."""
        values = _Values(
            inventory=self.inventory,
            histograms={name: histogram.to_dict() for name, histogram in self.histograms.items()},
            energies=dict(self.energies),
            framework=self.framework,
        )
        save_with_values(path, values.model_dump(), self.arrays)

    @classmethod
    def load(cls, path: Path) -> Snapshot | None:
        """The snapshot of a file; None where there is none, or it is damaged or of another version."""
        try:
            found, arrays = load_with_values(path)
            values = _Values.model_validate(found, strict=False)  # JSON knows no tuples
            histograms = {name: Histogram.from_dict(state) for name, state in values.histograms.items()}
            return cls(values.inventory, arrays, histograms, values.energies, values.framework)
        except (OSError, ValueError, KeyError, TypeError, RecursionError, MPQError):
            return None


def _quantities(model: MeasuredModel, site: str) -> dict[str, Array]:
    """What is kept of a weight, by name."""
    found = {quantity: getattr(model, quantity)(site) for quantity in _OF_WEIGHTS}
    few = model.few_columns(site) if isinstance(model, KeepsColumns) else None
    if few is None:
        return {**found, "covariance": model.covariance(site)}
    return {**found, "columns": few.columns, "own": few.own}

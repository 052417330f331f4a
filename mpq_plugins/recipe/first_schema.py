"""Recipes of schema 1, whose facts stood in ``meta`` as text: read, and never written."""

from __future__ import annotations

import contextlib
from typing import Any, Literal

from pydantic import Field

from mpq_plugins.recipe.float_part import FloatPart
from mpq_plugins.recipe.recipe_json import Elements, WrittenRecipe

_LATENCIES = {
    "latency_predicted_ms": ("predicted", "latency_ms"),
    "latency_measured_ms": ("measured", "latency_ms"),
    "latency_spread_ms": ("measured", "latency_spread_ms"),
    "objective": ("predicted", "objective"),
}
"""Numbers that were text: the field that they are in now, and the name there."""


class FirstRecipe(WrittenRecipe):
    """The whole file."""

    schema_version: Literal[1]
    float_weights: dict[str, Elements] = Field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """What a Recipe is made of, but for its sites."""
        meta = dict(self.meta)
        found: dict[str, Any] = {"predicted": {}, "measured": {}}
        for name, (field, word) in _LATENCIES.items():
            with contextlib.suppress(KeyError, ValueError):
                found[field][word] = float(meta[name])
                del meta[name]
        named = [name for name in meta.pop("float_ops", "").split(", ") if name]
        floats = [
            FloatPart(n, weights=self.float_weights.get(n, 0)) for n in dict.fromkeys([*named, *self.float_weights])
        ]
        kept = ("target", "method", "budget", "costs", "shadow_prices")
        return {**{name: getattr(self, name) for name in kept}, "meta": meta, "floats": tuple(floats), **found}

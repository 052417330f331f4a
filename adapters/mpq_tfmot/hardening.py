"""From a TF-MOT model back to a recipe: the grids that its quantizers have come to."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpq_plugins.errors import ModelError, MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.recipe import Recipe
from mpq_plugins.request import FLOAT_OPS
from mpq_plugins.thresholds import search_threshold
from mpq_tfmot.canonical import CanonicalModel, read_canonical
from mpq_tfmot.model_sites import take_inventory
from mpq_tfmot.quantizers import GridQuantizer

Found = dict[str, tuple[GridQuantizer, dict[str, Any]]]


def harden(model: Any, target: str = "litert-po2") -> Recipe:
    """The recipe of a model that quantize_apply made with our configs, before or after training.

    target: name of the target that the recipe is for. Raises ModelError where a layer has no quantizer of
    ours, and MPQError where a threshold is still unknown because the model has never been trained.
    """
    canonical, weights, outputs = quantizers_of(model)
    if not weights and not outputs:
        raise ModelError(f"the model {model.name!r} has no quantizer of mpq_tfmot; quantize it first")
    sites = take_inventory(canonical)
    grids: dict[str, Grid] = {}
    missing = []
    for op in canonical.layers:
        if op.name in weights:
            grids[op.weight_site] = _weight_grid(op.weight, *weights[op.name])
        else:
            missing.append(op.weight_site)
    by_group: dict[str, list[Grid]] = {}
    names: dict[str, list[str]] = {}
    for site in sites.inventory.activations:
        group = site.group or site.name
        names.setdefault(group, []).append(site.name)
        op = canonical[site.name]
        for name in (*op.options.get("fused", ()), op.name):
            if name in outputs:
                by_group.setdefault(group, []).append(_activation_grid(op.name, *outputs[name]))
                break
    for group, members in names.items():
        if group in by_group:
            widest = max(by_group[group], key=lambda grid: grid.threshold)
            grids |= dict.fromkeys(members, widest)
        else:
            missing.extend(members)
    if missing:
        raise ModelError(
            f"{', '.join(missing[:5])}: no quantizer of mpq_tfmot there (TF-MOT's own 8-bit config has no power-of-two "
            "grid); annotate these layers with mpq_tfmot.QuantizeConfig, or use mpq_tfmot.QuantizeScheme"
        )
    meta = {FLOAT_OPS: ", ".join(canonical.float_ops)} if canonical.float_ops else {}
    signs = {op.name: grids[op.name].signed for op in canonical.inputs}
    inventory = take_inventory(canonical, signs).inventory
    return Recipe.from_inventory(inventory, grids, target, "msqe", meta=meta)


def quantizers_of(model: Any) -> tuple[CanonicalModel, Found, Found]:
    """The canonical model behind a TF-MOT model, and its quantizers by op: of weights, and of outputs."""
    canonical, wrappers = read_canonical(model)
    weights: Found = {}
    outputs: Found = {}
    for name, wrapper in wrappers.items():
        for _, quantizer, variables in getattr(wrapper, "_weight_vars", ()):
            if isinstance(quantizer, GridQuantizer):
                weights[name] = quantizer, variables
        for quantizer, variables in _output_quantizers(wrapper):
            if isinstance(quantizer, GridQuantizer):
                outputs[name] = quantizer, variables
    return canonical, weights, outputs


def _output_quantizers(wrapper: Any) -> list[tuple[Any, dict[str, Any]]]:
    if hasattr(wrapper, "quantizer_vars"):  # a QuantizeLayer
        return [(wrapper.quantizer, wrapper.quantizer_vars)]
    found = [(q, wrapper._output_quantizer_vars) for q in getattr(wrapper, "_output_quantizers", ())[:1]]
    for activation in getattr(wrapper, "_quantize_activations", ()):
        post = getattr(activation, "_post_activation_vars", None)
        found.append((activation.quantizer, post or getattr(activation, "_pre_activation_vars", None)))
    return [(quantizer, variables) for quantizer, variables in found if variables]


def _weight_grid(weight: Any, quantizer: GridQuantizer, variables: dict[str, Any]) -> Grid:
    if quantizer.steps is not None:
        return quantizer.grid(variables)
    return search_threshold(weight, quantizer.bits, axis=quantizer.axis)


def _activation_grid(site: str, quantizer: GridQuantizer, variables: dict[str, Any]) -> Grid:
    if quantizer.steps is None and not float(variables["seen"].numpy()):
        raise MPQError(
            f"site {site!r}: its threshold is still unknown; train the model, or call it once with training=True"
        )
    grid = quantizer.grid(variables)
    exponents = np.rint(np.log2(grid.steps)) + (grid.bits - grid.signed)
    return Grid.power_of_two(grid.bits, exponents.astype(int), grid.signed, axis=grid.axis)

"""What every adapter's export to LiteRT does once its reader has the model as a quantized graph."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from mpq_plugins.errors import ModelError, TargetError
from mpq_plugins.exporters.litert.requirements import schema
from mpq_plugins.exporters.litert.writer import write_litert
from mpq_plugins.graph.layout import quantized_in_layout
from mpq_plugins.graph.node import check_batches
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.hardware import known_targets
from mpq_plugins.inventory import Site
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.stored import whole_file

FRAMEWORK = "tfmot"
"""What targets of LiteRT's interpreter call their runtime's framework."""
KEPT_LAYOUT = "kept_layout"
"""The fact in a file's metadata that says whether arguments and results lie as the model has them."""


def check_recipe(recipe: Recipe) -> None:
    """Raise TargetError, naming what is wrong, unless LiteRT runs the recipe's target and the target takes its grids.

    Raises PluginError where LiteRT is not installed.
    """
    schema()
    target = known_targets.target_of(recipe)
    if target.runtime is None or target.runtime.framework != FRAMEWORK:
        runs = f"runs on {target.runtime.framework}" if target.runtime else "has no runtime"
        raise TargetError(
            f"target {target.name!r} {runs}, not on LiteRT, and rounds otherwise; search for litert-po2, or "
            "take the grids over with dataclasses.replace(recipe, target='litert-po2')"
        )
    for entry in (*recipe.weights, *recipe.activations):
        axis = entry.grid.axis if entry.kind == "weight" else None
        target.check(Site(entry.site, entry.kind, entry.op, entry.shape, channel_axis=axis), entry.grid)


def exported(
    quantized: QuantizedGraph,
    path: str | PathLike[str] | None,
    pack: bool,
    keep_layout: bool,
    output_names: Sequence[str] | None = None,
) -> bytes:
    """The bytes of the file, which goes to ``path`` too, where one is given; raises as write_litert does."""
    check_batches(quantized.graph)
    kept = keep_layout and quantized.graph.layout != "NHWC"
    laid, _ = quantized_in_layout(quantized, "NHWC", kept)
    flat = write_litert(laid, pack, output_names, {KEPT_LAYOUT: kept})
    if path is not None:
        whole_file.write(path, flat, "LiteRT model", ModelError)
    return flat

"""A recipe as a torch.ao QConfigMapping."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch

from mpq_plugins import plugins
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.target import Target
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.site_grid import SiteGrid
from mpq_torch.modules.depthwise import sliced_grids
from mpq_torch.modules.written import CLAMP_SUFFIX, INPUT_SUFFIX, RELU_SUFFIX, SAME_GRID_SUFFIX
from mpq_torch.torch_ao.framework import fx_mode
from mpq_torch.torch_ao.grid_observers import CONTAINER_MAX
from mpq_torch.torch_ao.observers import GridObserver, GridPerChannelObserver, GridWeightObserver, zero_point_of

if TYPE_CHECKING:
    from torch.ao.quantization import QConfigMapping

_PLAIN_WEIGHT = Grid.power_of_two(8, 0)


def get_qconfig_mapping(recipe: Recipe) -> QConfigMapping:
    """The mapping that puts every site of a constrained model (fx.constrain) onto its grid.

    Each activation site names the modules that compute it: the layer or op itself, its fused ReLU,
    its clamp, its entrance into the quantized part, the slices of a wide depthwise layer. Ops that
    keep their input's grid are addressed by their common suffix. What the recipe does not name
    stays float.
    """
    torch_ao = fx_mode("torch.ao.quantization")
    mapping: QConfigMapping = torch_ao.QConfigMapping().set_global(None)
    target = plugins.target_of(recipe)
    weights = {entry.site.removesuffix(".weight"): entry.grid for entry in recipe.weights}
    for entry in recipe.activations:
        weight = weights.get(re.sub(r"__call\d+$", "", entry.site), _PLAIN_WEIGHT)
        qconfig = torch_ao.QConfig(activation=_activation(torch_ao, entry, target), weight=_weight(weight))
        # what enters the quantized part may come from a module of the site's name, which stays float
        own = (INPUT_SUFFIX,) if entry.op == "input" else ("", RELU_SUFFIX)
        for suffix in (*own, CLAMP_SUFFIX):
            mapping.set_module_name(entry.site + suffix, qconfig)
        if weight.axis is not None:
            for index, part in enumerate(sliced_grids(weight)):
                slice_config = torch_ao.QConfig(activation=qconfig.activation, weight=_weight(part))
                mapping.set_module_name(f"{entry.site}.slices.{index}", slice_config)
    if recipe.activations:
        # these ops take over the observer of their input; any quantized qconfig makes torch.ao see them
        mapping.set_module_name_regex(rf".*{SAME_GRID_SUFFIX}.*", qconfig)
    return mapping


def _activation(torch_ao: Any, entry: SiteGrid, target: Target) -> Any:
    """What gives a site its grid; torch.ao takes its own class alone where a kernel fixes scale and zero point."""
    kinds = target.support(entry.op).activation if target.runs(entry.op) else None
    if kinds is None or kinds.exponent is None:
        return GridObserver.with_args(grid=entry.grid)
    fixed = torch_ao.observer.FixedQParamsObserver
    zero_point = zero_point_of(entry.grid)
    return fixed.with_args(
        scale=entry.grid.step, zero_point=zero_point, dtype=torch.quint8, quant_min=0, quant_max=CONTAINER_MAX
    )


def _weight(grid: Grid) -> Any:
    """What makes the observer of a weight, as torch.ao takes it."""
    observer = GridWeightObserver if grid.axis is None else GridPerChannelObserver
    return observer.with_args(grid=grid)

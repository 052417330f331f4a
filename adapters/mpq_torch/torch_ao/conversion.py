"""Conversion of a constrained model to torch's integer kernels, and the proof that all of it was converted."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins import plugins
from mpq_plugins.errors import NothingQuantized
from mpq_plugins.recipe.recipe import Recipe
from mpq_torch.torch_ao.engine import ENGINE_ATTRIBUTE, CheckEngine, quantized_engine
from mpq_torch.torch_ao.framework import fx_mode
from mpq_torch.torch_ao.qconfig import get_qconfig_mapping
from mpq_torch.torch_ao.remembered_devices import forget_devices

_FLOAT_LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Linear)

logger = logging.getLogger(__name__)


def convert(on_grid: nn.Module, recipe: Recipe, example_inputs: Sequence[Any], engine: str) -> fx.GraphModule:
    """``on_grid`` as torch.ao converts it for ``engine``; runs on that engine only.

    Raises NothingQuantized when a layer of the recipe, or the whole model, came out float, and
    PluginError where this torch has no FX mode.
    """
    verbs = fx_mode("torch.ao.quantization.quantize_fx")
    with warnings.catch_warnings(), quantized_engine(engine):
        warnings.simplefilter("ignore")  # torch.ao announces its own deprecation on every call
        prepared = verbs.prepare_fx(on_grid, get_qconfig_mapping(recipe), tuple(example_inputs))
        converted: fx.GraphModule = verbs.convert_fx(prepared)
    forget_devices()
    check_converted(converted, recipe)
    logger.info("converted for the quantized engine %s", engine)
    if plugins.target_of(recipe).runtime is None:
        enter_plainly(converted)
    setattr(converted, ENGINE_ATTRIBUTE, engine)
    converted.register_forward_pre_hook(CheckEngine(engine))
    return converted


def enter_plainly(converted: fx.GraphModule) -> None:
    """Let float tensors enter on the nearest code, as hardware without a runtime has it.

    torch adds the zero point first, in float32: a value just below a tie then becomes the tie.
    """
    for node in list(converted.graph.nodes):
        if node.target is torch.quantize_per_tensor:
            with converted.graph.inserting_before(node):
                node.replace_input_with(
                    node.args[0], converted.graph.call_function(nearest, (node.args[0], node.args[1]))
                )
    converted.recompile()


def nearest(x: Tensor, step: Tensor) -> Tensor:
    """The nearest multiples of a step, half to even."""
    return torch.round(x / step) * step


def check_converted(converted: nn.Module, recipe: Recipe) -> None:
    """Raise NothingQuantized unless every weight of the recipe is in an integer kernel."""
    modules = dict(converted.named_modules())
    weights = [entry.site.removesuffix(".weight") for entry in recipe.weights]
    left = [
        name
        for name in weights
        if name not in modules or any(type(m) in _FLOAT_LAYERS for m in modules[name].modules())
    ]
    if left:
        what = "nothing was quantized" if len(left) == len(weights) else "part of the model stayed float"
        raise NothingQuantized(
            f"{what}: {_listed(left)}. convert_fx leaves a layer in float when its qconfig does not fit the "
            "backend or its name; pass the model that fx.constrain returned for this recipe"
        )


def _listed(names: Iterable[str], most: int = 8) -> str:
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

"""The torchao PT2E adapter: what mpq_torch.fx does, for exported graphs and torchao's verbs.

``search``, ``Search``, ``equalize``, ``inventory``, ``constrain`` and ``simulate`` are those of fx, so a recipe found
by one adapter applies in the other and gives the same simulated numbers; only the way to integers is another. torchao's
q/dq graph clips to quant_min and quant_max, rounds half to even and adds in float: constraining needs no
clamps, and no layer has to be rewritten for a kernel. Needs torchao: ``pip install 'mpq-plugins[pt2e]'``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor, fx, nn

from mpq_plugins import plugins
from mpq_plugins.errors import PluginError
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.rounding.moments.thinning import COLUMNS
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.surroundings import undisturbed
from mpq_torch.convert import constrained, rounded, simulate
from mpq_torch.fx import Search, Verification, equalize, inventory, search
from mpq_torch.reader.writing import write_module
from mpq_torch.simulation.simulated_model import simulation_of
from mpq_torch.simulation.verification import compare
from mpq_torch.torch_ao.remembered_devices import forget_devices

try:
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
except ImportError as error:
    raise PluginError(
        f"mpq_torch.pt2e needs torchao, which cannot be imported here ({error}); install it with: "
        "pip install 'mpq-plugins[pt2e]'"
    ) from error

from mpq_torch.pt2e.accumulation import widen
from mpq_torch.pt2e.defaults import keep_defaults
from mpq_torch.pt2e.exporting import check_evaluating, check_exported, export
from mpq_torch.pt2e.float_weights import drop_float_weights
from mpq_torch.pt2e.hardening import harden
from mpq_torch.pt2e.lowering import lower_to_x86, prepare_for_x86
from mpq_torch.pt2e.recipe_quantizer import MixedPrecisionQuantizer, RecipeQuantizer
from mpq_torch.pt2e.target_rules import accumulates_in_integers, check_rounding
from mpq_torch.pt2e.verification import first_difference

__all__ = [
    "MixedPrecisionQuantizer",
    "RecipeQuantizer",
    "Search",
    "Verification",
    "constrain",
    "convert",
    "equalize",
    "export",
    "harden",
    "inventory",
    "lower_to_x86",
    "prepare_for_x86",
    "quantize",
    "search",
    "simulate",
    "verify",
]


@undisturbed
def constrain(
    model: nn.Module,
    recipe: Recipe,
    calibration: Iterable[Any] | Tensor | None = None,
    *,
    example_inputs: Any = None,
    nearest: bool = False,
    progress: bool | None = None,
    memory_gb: float | None = None,
    positions: int = COLUMNS,
) -> fx.GraphModule:
    """The float model on its grids, to be exported: batch norms folded, weights and biases on theirs.

    As ``fx.constrain``, without what only torch's own kernels need: clamps to ranges, split layers.
    """
    reading, quantized = rounded(model, recipe, calibration, example_inputs, nearest, progress, memory_gb, positions)
    return write_module(replace(reading, graph=quantized.graph))


@undisturbed
def quantize(
    model: nn.Module,
    recipe: Recipe,
    example_inputs: Any = None,
    calibration: Iterable[Any] | Tensor | None = None,
) -> fx.GraphModule:
    """The model as torchao's q/dq graph: constrain, export, prepare_pt2e, convert_pt2e in one call.

    example_inputs, calibration: as of ``constrain``. The model may be on any device; the graph is on the processor.
    Takes batches of any size where the model does. Layers whose sums could round in float32 add in
    float64; for a target of inductor's int8 kernels (torch-pt2e-x86), which add in int32, the graph is
    that of ``prepare_for_x86`` instead, to be run by ``lower_to_x86`` or by torch.compile while freezing.
    Raises TargetError for a target that does not round half to even, ModelError where torch.export fails.
    """
    check_rounding(plugins.target_of(recipe))
    on_grid, example = constrained(constrain, model, recipe, example_inputs, calibration)
    return keep_defaults(convert(export(on_grid, example), recipe), takes_of(model))


def convert(exported: fx.GraphModule, recipe: Recipe) -> fx.GraphModule:
    """prepare_pt2e and convert_pt2e of an exported graph, with what makes sums and kernels of the target exact."""
    target = plugins.target_of(recipe)
    check_rounding(target)
    check_exported(exported, "pt2e.export(model, example_inputs)")
    check_evaluating(exported)
    converted: fx.GraphModule = convert_pt2e(prepare_pt2e(exported, RecipeQuantizer(recipe)))
    forget_devices()
    drop_float_weights(converted)
    if accumulates_in_integers(target):
        return prepare_for_x86(converted)
    widen(converted)
    return converted


def verify(converted: nn.Module, simulated: nn.Module, inputs: Any, recipe: Recipe | None = None) -> Verification:
    """Compare a converted model with its simulation, element by element.

    converted: what convert_pt2e, torch.compile or ``lower_to_x86`` returned. Otherwise as ``fx.verify``.
    """
    return compare(converted, *simulation_of(simulated, recipe, inputs), first_difference)

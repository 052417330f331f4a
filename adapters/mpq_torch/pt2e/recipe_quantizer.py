"""A recipe as a torchao Quantizer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchao.quantization.pt2e.quantizer import Quantizer

from mpq_plugins import plugins
from mpq_plugins.costs.budget import Budget
from mpq_plugins.errors import ModelError, NothingQuantized
from mpq_plugins.graph.runtimes import runtime_of
from mpq_plugins.hardware.target import Target
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.training.method import TrainingMethod
from mpq_plugins.training.plan import trainable
from mpq_torch.fx import search
from mpq_torch.pt2e.annotations import RecipeAnnotations
from mpq_torch.pt2e.exported_ops import follow_in_place_ops
from mpq_torch.pt2e.hardening import TRAINED_RECIPE
from mpq_torch.pt2e.specs import pool_bias_inputs

ANNOTATION = "quantization_annotation"
SITE = "mpq_site"
"""Entry of a node's meta: the site whose grid its output is put on."""


class RecipeQuantizer(Quantizer):  # type: ignore[misc]  # torchao has no types
    """Annotates an exported graph with the grids of a recipe.

    For torchao's own verbs: ``prepare_pt2e`` and ``prepare_qat_pt2e``, then ``convert_pt2e``. The graph may
    be of the float model as it is (torchao folds its batch norms, in float32; biases are rounded to the
    accumulator's grid) or of what ``pt2e.constrain`` returned, which alone is exact with batch norms.
    Nodes that belong to no site are left alone, so that other quantizers can have them.

    method: the name or value of a training method, for ``prepare_qat_pt2e``: it learns the grids, at the
    recipe's bits, while a loop of the user's own trains; sites of one group share one fake-quantizer.
    Parameters of the grids come into being with the first batch: run one before building the optimizer.
    ``pt2e.harden`` returns the recipe that was learned. Schedules of a method stand at their start here, and
    it takes no part between steps; ``pt2e.Search`` drives both.

    Raises MPQError for a method that does not train, RecipeMismatch where graph and recipe do not fit,
    UnsupportedOp at an op without a grid, and ModelError where another quantizer has annotated a node before.
    """

    def __init__(self, recipe: Recipe, method: str | TrainingMethod | None = None) -> None:
        super().__init__()
        plugins.target_of(recipe)  # which refuses what is no recipe
        self.recipe = recipe
        self.method = None if method is None else trainable(method)

    def transform_for_annotation(self, model: fx.GraphModule) -> fx.GraphModule:
        """Let readers of an overwritten tensor read the op that overwrote it."""
        follow_in_place_ops(model.graph)
        model.recompile()
        return model

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Give each node of a site its QuantizationAnnotation."""
        shifted_inputs = runtime_of(plugins.target_of(self.recipe)).entry.zero_point
        found = RecipeAnnotations(model.graph, self.recipe, shifted_inputs, self.method)
        if self.method is not None:
            model.meta[TRAINED_RECIPE] = self.recipe
        for node, annotation in found.annotations.items():
            if ANNOTATION in node.meta:
                raise ModelError(
                    f"node {node.name} ({node.target}) of site {found.name(node)!r} has an annotation from another "
                    "quantizer; put RecipeQuantizer first in ComposableQuantizer and give the other one "
                    "the ops that the recipe leaves in float (keep_float)"
                )
            node.meta[ANNOTATION] = annotation
        for place, site in found.sites.items():
            (place if isinstance(place, fx.Node) else place[0]).meta[SITE] = site
        return model

    def prepare_obs_or_fq_callback(self, model: fx.GraphModule, edge_or_node_to_obs_or_fq: dict[Any, Any]) -> None:
        """Let biases follow the grids that are learned; torchao calls this, but not through ComposableQuantizer."""
        if self.method is not None:
            pool_bias_inputs(edge_or_node_to_obs_or_fq)

    def validate(self, model: fx.GraphModule) -> None:
        """Raise NothingQuantized if no node carries an annotation."""
        if not any(ANNOTATION in node.meta for node in model.graph.nodes):
            raise NothingQuantized("nothing was quantized: the graph has no node of the recipe's sites")


class MixedPrecisionQuantizer(RecipeQuantizer):
    """Searches the grids of a float model, and annotates its exported graph with what it found.

    model: the float module that was, or will be, exported. calibration, budget, target, method and
    options (weight_bits, activation_bits, per_channel, keep_float, ...): as for ``pt2e.search``.
    ``recipe`` is what was found.
    """

    def __init__(
        self,
        target: str | Target,
        method: str = "msqe",
        budget: Budget | None = None,
        *,
        model: nn.Module,
        calibration: Iterable[Any] | Tensor,
        **options: Any,
    ) -> None:
        if isinstance(model, fx.GraphModule) and any(
            isinstance(node.target, torch._ops.OpOverload) for node in model.graph.nodes
        ):
            raise ModelError(
                "MixedPrecisionQuantizer searches the float module; pass the nn.Module that was exported, and the "
                "exported graph to prepare_pt2e"
            )
        super().__init__(search(model, calibration, target, budget, method=method, **options))

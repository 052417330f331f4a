"""QuantizeScheme: TF-MOT's door for a whole model, with the grids of a recipe or the same bits everywhere."""

from __future__ import annotations

from typing import Any

import tensorflow_model_optimization as tfmot

from mpq_plugins.errors import ModelError
from mpq_plugins.recipe import Recipe
from mpq_tfmot.canonical import canonicalize
from mpq_tfmot.canonical_ops import FLOAT, Op
from mpq_tfmot.keras import keras
from mpq_tfmot.model_sites import ModelSites, take_inventory
from mpq_tfmot.quantize_config import QuantizeConfig
from mpq_tfmot.quantizers import GridQuantizer
from mpq_tfmot.rebuilding import CLAMP_SUFFIX, rebuild
from mpq_tfmot.wrapper import PREFIX, QuantizeGridWrapper

INPUT_SUFFIX = ".quantize"
ROUNDS = ("add", "lookup", "avg_pool", "global_avg_pool", "relu")
"""Ops without a weight whose output leaves the grid of their input."""


class QuantizeScheme(tfmot.quantization.keras.QuantizeScheme):  # type: ignore[misc]
    """What ``quantize_apply(annotated_model, scheme)`` does with the layers that have no config of their own.

    recipe: the grid of every site; without it all get ``method`` at ``weight_bits`` and ``activation_bits``.
    Batch norms are folded and nested models flattened, so that the model trains what the hardware runs.
    """

    def __init__(
        self,
        recipe: Recipe | None = None,
        method: str = "msqe",
        weight_bits: int = 8,
        activation_bits: int = 8,
        per_channel: bool = True,
    ) -> None:
        self.recipe = recipe
        self.default = QuantizeConfig(method, weight_bits, activation_bits, per_channel)

    def get_layout_transformer(self) -> Any:
        """What folds batch norms and hands out configs."""
        return _Layout(self)

    def get_quantize_registry(self) -> Any:
        """What TF-MOT asks about layers that nobody annotated."""
        return _Registry()


class _Registry(tfmot.quantization.keras.QuantizeRegistry):  # type: ignore[misc]
    """Supports no layer: the layout has given every layer that is to be quantized its config."""

    def supports(self, layer: Any) -> bool:
        return False

    def get_quantize_config(self, layer: Any) -> None:
        return None


class _Layout(tfmot.quantization.keras.QuantizeLayoutTransform):  # type: ignore[misc]
    def __init__(self, scheme: QuantizeScheme) -> None:
        self.scheme = scheme

    def apply(self, model: Any, layer_quantize_map: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The model in canonical form, and the config of each of its layers."""
        canonical = canonicalize(model)
        sites = take_inventory(canonical)
        recipe = self.scheme.recipe
        if recipe is not None:
            recipe.check_fits(sites.inventory)
        asked = {name: entry.get("quantize_config") for name, entry in layer_quantize_map.items()}
        wanted = set(layer_quantize_map)
        configs: dict[str, QuantizeConfig] = {}
        for op in canonical.ops:
            if op.kind in (FLOAT, "input"):
                continue
            names = [op.name, *op.options.get("fused", ())]
            if wanted.isdisjoint(names):
                continue
            own = next((asked[name] for name in reversed(names) if asked.get(name) is not None), None)
            if own is not None and not isinstance(own, QuantizeConfig):
                raise ModelError(
                    f"{op.name}: {type(own).__name__} is a config of another scheme, which does not fit a model whose "
                    "batch norms are folded; call quantize_apply without our scheme, or annotate with our config"
                )
            self._configure(op, own or self._config(op, sites), configs)
        for op in canonical.inputs:
            configs[f"{op.name}{INPUT_SUFFIX}"] = self._config(op, sites).of_output()
        built = rebuild(canonical, model.name, _quantized_input)

        def wrapped(layer: Any) -> Any:
            config = configs.get(layer.name)
            return layer if config is None else QuantizeGridWrapper(layer, config, name_prefix=PREFIX)

        # a layer that is wrapped already is left as it is
        return keras.models.clone_model(built, clone_function=wrapped), {}

    def _config(self, op: Op, sites: ModelSites) -> QuantizeConfig:
        recipe = self.scheme.recipe
        if recipe is None:
            return self.scheme.default
        weight = recipe[op.weight_site] if op.weighted else None
        return QuantizeConfig(
            recipe.method, None, None, weight_grid=weight, activation_grid=recipe[sites.grid_of[op.name]]
        )

    @staticmethod
    def _configure(op: Op, config: QuantizeConfig, configs: dict[str, QuantizeConfig]) -> None:
        clamped = op.low is not None and op.kind != "relu"
        if op.weighted:
            configs[op.name] = config.without_output() if clamped else config
        elif op.kind in ROUNDS and not clamped:
            configs[op.name] = config.of_output()
        if clamped:
            configs[f"{op.name}{CLAMP_SUFFIX}"] = config.of_output()


def _quantized_input(op: Op, tensor: Any) -> Any:
    """A layer that does nothing, to carry the quantizer of a model input."""
    return keras.layers.Activation("linear", name=f"{op.name}{INPUT_SUFFIX}")(tensor)


def quantize_scope(*objects: dict[str, Any]) -> Any:
    """TF-MOT's quantize_scope, with the classes of this package: for quantize_apply, clone_model and load_model."""
    own = {kind.__name__: kind for kind in (GridQuantizer, QuantizeConfig, QuantizeGridWrapper)}
    return tfmot.quantization.keras.quantize_scope(own, *objects)


def quantize(model: Any, recipe: Recipe) -> Any:
    """A TF-MOT model on the grids of a recipe: quantize_annotate_model and quantize_apply in one call.

    model: what ``constrain`` returned, or any model that the recipe fits. It trains with straight-through
    gradients, and converts with LiteRT's own converter too. Raises RecipeMismatch with names.
    """
    canonical = canonicalize(model)
    recipe.check_fits(take_inventory(canonical).inventory)
    flat = rebuild(canonical, model.name)
    with quantize_scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(flat)
        return tfmot.quantization.keras.quantize_apply(annotated, QuantizeScheme(recipe))

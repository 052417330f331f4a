"""QuantizeScheme: TF-MOT's door for a whole model, with the grids of a recipe or those that a method trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot

from mpq_plugins import plugins
from mpq_plugins.costs.budget import Budget
from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import INPUT, RAW, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.output_rounding import output_roundings
from mpq_plugins.graph.sites import GraphSites, take_sites
from mpq_plugins.graph.weights import accumulator_steps
from mpq_plugins.hardware.target import Target
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search_input import Bits, candidates_for
from mpq_plugins.training.method import TrainingMethod
from mpq_plugins.training.plan import TrainingPlan, trainable
from mpq_tfmot.convert import constrain
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.fitting import read_fitting
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import CLAMP_SUFFIX, write_model
from mpq_tfmot.training.hardening import TARGET
from mpq_tfmot.training.hosted import check_called_once
from mpq_tfmot.training.quantize_config import QuantizeConfig
from mpq_tfmot.training.quantizers import GridQuantizer
from mpq_tfmot.training.wrapper import PREFIX, QuantizeGridWrapper

INPUT_SUFFIX = ".quantize"


class QuantizeScheme(tfmot.quantization.keras.QuantizeScheme):  # type: ignore[misc]
    """What ``quantize_apply(annotated_model, scheme)`` does with the layers that have no config of their own.

    recipe: the grid of every site. Without it ``method`` trains the grids: weight_bits, activation_bits
    are candidates as for ``search``: a number, several, or a mapping from patterns of site names to either
    ({"conv1.weight": 8, "fc.weight": 8, "*": (2, 3, 4)}); None for all that the target has.
    target: whose grids they are. budget: where a method has a rule for the bits of some sites (activations)
    under a budget, those get one candidate here. per_channel: a step per output channel, where the target has it.
    fold_batch_norms: fold them, so that the model trains what the hardware runs; False leaves them, as papers
    do: hardening then finds the thresholds of the folded weights anew.
    signed_inputs: whether the model's inputs go below zero. seed: of the method's draws.
    Nested models are flattened. A method may also be given as a value, with hyper-parameters of its own.
    """

    def __init__(
        self,
        recipe: Recipe | None = None,
        method: str | TrainingMethod = "msqe",
        weight_bits: Bits = 8,
        activation_bits: Bits = 8,
        per_channel: bool = True,
        *,
        target: str | Target = TARGET,
        budget: Budget | None = None,
        fold_batch_norms: bool = True,
        signed_inputs: bool = True,
        seed: int = 0,
    ) -> None:
        self.recipe = recipe
        self.method, self.target, self.budget = method, target, budget
        self.weight_bits, self.activation_bits, self.per_channel = weight_bits, activation_bits, per_channel
        self.fold_batch_norms, self.signed_inputs, self.seed = fold_batch_norms, signed_inputs, seed
        if recipe is None:
            trainable(method)

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
        """The model with its batch norms folded, and the config of each of its layers."""
        target = (
            plugins.target(self.scheme.target) if self.scheme.recipe is None else plugins.target_of(self.scheme.recipe)
        )
        graph = read_model(model, target=target).graph
        check_called_once(graph)
        entering = [node for node in graph.nodes if node.op == INPUT]
        signs = {node.site: self.scheme.signed_inputs for node in entering}
        sites = take_sites(graph, signs if self.scheme.recipe is None else None)
        trained = read_model(model, fold=self.scheme.fold_batch_norms, target=target)
        config_of = configs_of(self.scheme, graph, trained.graph, sites)
        asked = {name: entry.get("quantize_config") for name, entry in layer_quantize_map.items()}
        wanted = set(layer_quantize_map)
        own_layers = {node.name for node in trained.graph.nodes}
        configs: dict[str, QuantizeConfig] = {}
        for node in graph.nodes:
            if node.op in (*RAW, INPUT):
                continue
            names = [node.name, *node.attrs.get("fused", ())]
            if wanted.isdisjoint((*names, node.name.partition(".")[0])):  # attention is one layer, and several nodes
                continue
            own = next((asked[name] for name in reversed(names) if asked.get(name) is not None), None)
            if own is not None and not isinstance(own, QuantizeConfig):
                raise ModelError(
                    f"{node.name}: {type(own).__name__} is a config of another scheme, which does not fit a model "
                    "whose batch norms are folded; call quantize_apply without our scheme, or annotate with our config"
                )
            _configure(node, own or config_of(node), configs, own_layers)
        for node in entering:
            configs[f"{node.site}{INPUT_SUFFIX}"] = config_of(node).of_output()
        built = write_model(trained, model.name, _quantized_input)
        frozen = {layer.name for layer in model.layers if not layer.trainable}
        for name in frozen & {layer.name for layer in built.layers}:
            built.get_layer(name).trainable = False

        def wrapped(layer: Any) -> Any:
            config = configs.get(layer.name)
            return layer if config is None else QuantizeGridWrapper(layer, config, name_prefix=PREFIX)

        # a layer that is wrapped already is left as it is
        return keras.models.clone_model(built, clone_function=wrapped), {}


def configs_of(
    scheme: QuantizeScheme, graph: Graph, trained: Graph, sites: GraphSites
) -> Callable[[Node], QuantizeConfig]:
    """What gives each node of the folded graph its config. trained: the graph whose weights are trained.

    Raises as candidates_for and TrainingPlan.of do.
    """
    recipe = scheme.recipe
    if recipe is not None:
        recipe.check_fits(sites.inventory)
        rules = output_roundings(graph, sites.grid_of, recipe, plugins.target_of(recipe))

        def of_recipe(node: Node) -> QuantizeConfig:
            output, rule = recipe[sites.grid_of[node.name]], rules.get(node.name)
            if not node.weighted:
                return QuantizeConfig(recipe.method, None, None, activation_grid=output, rounding=rule)
            weight, source = recipe[node.weight_site], recipe[sites.grid_of[node.inputs[0]]]
            before, now = trained[node.name].weight, node.weight
            assert before is not None
            assert now is not None
            own = np.array_equal(before, now)  # else a norm beside it will change it
            steps = accumulator_steps(node, weight, source) if own else None
            return QuantizeConfig(
                recipe.method, None, None, weight_grid=weight, activation_grid=output, rounding=rule, bias_steps=steps
            )

        return of_recipe
    asked = (scheme.weight_bits, scheme.activation_bits, scheme.per_channel)
    kinds = candidates_for(sites.inventory, plugins.target(scheme.target), *asked)
    method = scheme.method
    if scheme.budget is not None:
        plan = TrainingPlan.of(sites.inventory, scheme.target, scheme.method, scheme.budget, *asked)
        method = plan.method
        kinds = {site: plan.slots[slot].candidates for site, slot in plan.slot_of.items()}

    def of_method(node: Node) -> QuantizeConfig:
        output = kinds[sites.grid_of[node.name]]
        if output[0].exponent is not None:  # a function's kernel fixes it
            return QuantizeConfig("fixed", None, None, activation_grid=output[0].grid(output[0].exponent))
        weight = kinds[node.weight_site] if node.weighted else ()
        return QuantizeConfig(
            method,
            tuple(kind.bits for kind in weight) or None,
            tuple(kind.bits for kind in output),
            per_channel=bool(weight) and weight[0].per_channel,
            activation_signed=output[0].signed,
            narrow=bool(weight) and weight[0].narrow,
            seed=scheme.seed,
        )

    return of_method


def _configure(node: Node, config: QuantizeConfig, configs: dict[str, QuantizeConfig], layers: set[str]) -> None:
    """Give the layers of a node their configs: the one with the weight, and the one that ends the node.

    layers: names of the nodes that are written as layers; what is fused into a node may be one of them.
    """
    clamped = (node.low is not None or node.high is not None) and node.op != "clamp"
    last = next((name for name in reversed(node.attrs.get("fused", ())) if name in layers), None)
    last = last or (f"{node.name}{CLAMP_SUFFIX}" if clamped else node.name)
    if node.weighted:
        configs[node.name] = config if last == node.name else config.without_output()
    leaves_grid = not node.weighted and (op_of(node).computes or node.op == "clamp")
    if last != node.name or leaves_grid:
        configs[last] = config.of_output()


def _quantized_input(node: Node, tensor: Any) -> Any:
    """A layer that does nothing, to carry the quantizer of a model input."""
    return keras.layers.Activation("linear", name=f"{node.site}{INPUT_SUFFIX}")(tensor)


def quantize_scope(*objects: dict[str, Any]) -> Any:
    """TF-MOT's quantize_scope, with the classes of this package: for quantize_apply, clone_model and load_model."""
    own = {kind.__name__: kind for kind in (GridQuantizer, QuantizeConfig, QuantizeGridWrapper)}
    return tfmot.quantization.keras.quantize_scope(own, *objects)


def quantize(
    model: Any, recipe: Recipe, example_inputs: Any = None, calibration: Iterable[Any] | Any | None = None
) -> Any:
    """A TF-MOT model on the grids of a recipe: quantize_annotate_model and quantize_apply in one call.

    model: what ``constrain`` returned, or any model that the recipe fits. example_inputs, calibration: as of
    ``constrain``. It trains with straight-through gradients, and converts with LiteRT's own converter too.
    Raises RecipeMismatch with names.
    """
    if calibration is not None:
        model = constrain(model, recipe, calibration)
    reading, _ = read_fitting(model, recipe)
    flat = write_model(reading, model.name)
    with quantize_scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(flat)
        return tfmot.quantization.keras.quantize_apply(annotated, QuantizeScheme(recipe))

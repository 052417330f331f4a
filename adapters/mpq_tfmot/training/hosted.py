"""The quantizers that TF-MOT's wrappers hold in a model, each with its variables and the site that it serves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError, MPQError
from mpq_plugins.graph.node import INPUT, Graph, Node
from mpq_plugins.graph.output_rounding import OutputRounding
from mpq_plugins.graph.sites import GraphSites, take_sites
from mpq_plugins.graph.weights import as_framework
from mpq_plugins.grid import Grid
from mpq_plugins.inventory import Inventory
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.alone import joined_start, parted
from mpq_plugins.training.method import Start
from mpq_plugins.training.starting_grid import check_holds
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.training.observation import SMALLEST, observed
from mpq_tfmot.training.quantizers import ENERGY, FROZEN, OBSERVING, PHASES, TRAINING, GridQuantizer, method_number
from mpq_tfmot.training.tensor_bank import MOVE, PARAMETER, STATE
from mpq_tfmot.training.wrapper import QuantizeGridWrapper

Numbers = dict[str, NDArray[Any]]


@dataclass
class Hosted:
    """One quantizer.

    site: of the inventory. node: whose weight or output it quantizes. weight: the variable; None for an activation.
    """

    site: str
    node: Node
    wrapper: Any
    quantizer: GridQuantizer
    variables: dict[str, Any]
    weight: Any = None

    @property
    def phase(self) -> str:
        """The phase of the variables; a checkpoint may have brought another than that of the configuration."""
        return FROZEN if "phase" not in self.variables else PHASES[int(self.variables["phase"].numpy())]

    @property
    def clock(self) -> int:
        """Steps of the search that are done."""
        return int(self.variables["clock"].numpy()) if "clock" in self.variables else 0

    @property
    def unseen(self) -> bool:
        """Whether an activation has not passed by yet, so that nothing is known of its threshold."""
        return self.phase == OBSERVING and not float(self.variables["seen"].numpy())

    def numbers(self) -> tuple[Numbers, Numbers]:
        """Parameters and state as NumPy arrays; of an activation that is still observed, those it would start with."""
        method, bank = self.quantizer.method, self.quantizer.bank
        assert method is not None
        if self.phase == OBSERVING:
            start = self.quantizer.start(observed(self.variables, self.site))
            parameters, state = dict(start.parameters), dict(start.state)
        else:
            own = {key: value.numpy() for key, value in self.variables.items()}
            parameters = {
                key.removeprefix(PARAMETER): value + own[MOVE + key.removeprefix(PARAMETER)]
                for key, value in own.items()
                if key.startswith(PARAMETER)
            }
            state = {key.removeprefix(STATE): v for key, v in own.items() if key.startswith(STATE)}
        return parted(method, bank, parameters, 0), parted(method, bank, state, 0)

    def begin(self) -> None:
        """Start the method on what the tensor is now: the weight, or what was seen of the activation."""
        self._assign(self.quantizer.start(self.seen))
        self._enter(TRAINING)

    def _assign(self, start: Start) -> None:
        for prefix, values in ((PARAMETER, start.parameters), (STATE, start.state)):
            for key, value in values.items():
                self.variables[prefix + key].assign(np.asarray(value, np.float32))

    def settle(self, grid: Grid) -> None:
        """Let the method's choice be this grid, where it has a choice."""
        method, slot = self.quantizer.method, self.quantizer.slot
        if method is None or len(slot.bits) == 1 or self.phase != TRAINING:
            return
        found = method.settled(slot, *self.numbers(), grid)
        self._assign(joined_start(method, self.quantizer.bank, [found]))
        for key in found.parameters:
            self.variables[MOVE + key].assign(tf.zeros_like(self.variables[MOVE + key]))

    @property
    def seen(self) -> Histogram | NDArray[Any]:
        """What a grid has to hold: the weight as it is now, or what was seen of the activation."""
        return observed(self.variables, self.site) if self.weight is None else self.weight.numpy()

    @property
    def energy(self) -> float:
        """The squared gradients at the tensor, added up over its elements; 0 where they were not looked at."""
        return float(self.variables[ENERGY].numpy()) if ENERGY in self.variables else 0.0

    def latest(self) -> Histogram:
        """The last batch that was seen of an activation."""
        return observed(self.variables, self.site, latest=True)

    def standing(self) -> Grid:
        """The grid at which the method stands."""
        method = self.quantizer.method
        assert method is not None
        return method.harden(self.quantizer.slot, *self.numbers())

    @property
    def standing_bits(self) -> int:
        """The bits of the grid of the moment."""
        trains = self.quantizer.method is not None and self.quantizer.phase == TRAINING
        return self.standing().bits if trains else self.quantizer.bits[-1]

    def check(self) -> None:
        """Raise MPQError where the variables came from a checkpoint of another method."""
        method = self.quantizer.method
        if method is not None and int(self.variables["method"].numpy()) != method_number(method):
            raise MPQError(
                f"site {self.site!r} is to be trained by method {method.name!r}, and its variables are from a "
                "checkpoint of another method; build the model with the checkpoint's method"
            )

    def synchronize(self) -> None:
        """Take the phase of the variables, which a checkpoint may have brought."""
        if self.phase != self.quantizer.phase:
            self._enter(self.phase)

    @property
    def computes_with_it(self) -> bool:
        """Whether the node has the weight of the variable, and not that with a norm beside the layer folded in."""
        own = np.asarray(self.weight.numpy(), np.float64)
        return np.array_equal(as_framework(self.node, "NHWC"), own)

    def freeze(
        self, grid: Grid, rounding: OutputRounding | None = None, bias_steps: NDArray[np.float64] | None = None
    ) -> None:
        """Make it a fixed grid: the method's variables leave the layer.

        rounding: of an activation. bias_steps: of the accumulator of a weight's layer.
        """
        fixed = GridQuantizer.of(grid, self.weight is not None, rounding)
        fixed.slot = fixed.slot_like(self.quantizer.slot)
        kept = {key: self.variables[key] for key in ("steps", "low", "high")}
        gone = {id(v) for key, v in self.variables.items() if key not in kept}
        kept["steps"].assign(np.reshape(grid.steps, kept["steps"].shape))
        kept["low"].assign(grid.low)
        kept["high"].assign(grid.high)
        wrapper = self.wrapper
        for name in ("_trainable_weights", "_non_trainable_weights"):
            setattr(wrapper, name, [v for v in getattr(wrapper, name) if id(v) not in gone])
        config = wrapper.quantize_config
        if self.weight is not None:
            wrapper.quantize_config = config.but(weight_grid=grid, bias_steps=bias_steps)
            round_bias(wrapper, bias_steps)
            wrapper._weight_vars = [(w, fixed, kept) for w, _, _ in wrapper._weight_vars]
        else:
            wrapper.quantize_config = config.but(activation_grid=grid, rounding=rounding)
            _replace_output(wrapper, self.variables, fixed, kept)
        self.quantizer, self.variables = fixed, kept

    def _enter(self, phase: str) -> None:
        self.quantizer.phase = phase
        self.variables["phase"].assign(PHASES.index(phase))
        if self.weight is None:
            self.wrapper.quantize_config = self.wrapper.quantize_config.but(observed=phase == TRAINING)


@dataclass(frozen=True)
class HostedModel:
    """What hardening and a search need to know of a quantized model.

    hosted: in the order of the sites. inputs: grids of the model inputs that TF-MOT itself quantizes.
    """

    model: Any
    graph: Graph
    sites: GraphSites
    hosted: tuple[Hosted, ...]
    inputs: Mapping[str, Grid]

    @property
    def inventory(self) -> Inventory:
        """All sites; the signs of the model's inputs are those of their quantizers."""
        signs = {site: grid.signed for site, grid in self.inputs.items()}
        signs |= {h.site: h.quantizer.signed for h in self.hosted if h.weight is None}
        inputs = {node.site: signs.get(node.site, True) for node in self.graph.nodes if node.op == INPUT}
        return take_sites(self.graph, inputs).inventory

    def by_site(self) -> Mapping[str, list[Hosted]]:
        """The quantizers of each group of sites that shares a grid, by the name of the group's first site."""
        found: dict[str, list[Hosted]] = {}
        first = self.first_of_group()
        for hosted in self.hosted:
            found.setdefault(first[hosted.site], []).append(hosted)
        return found

    def first_of_group(self) -> dict[str, str]:
        """Site -> the first site of its group."""
        groups = self.sites.inventory.groups().values()
        return {site.name: group[0].name for group in groups for site in group}


def hosted_model(model: Any) -> HostedModel:
    """The quantizers of a TF-MOT model. Raises as read_model does."""
    reading = read_model(model)
    graph, wrappers = reading.graph, reading.wrappers
    check_called_once(graph)
    sites = take_sites(graph)
    on_grids = [node for node in graph.nodes if node.name in sites.grid_of]
    owner = {name: node for node in on_grids for name in (*node.attrs.get("fused", ()), node.site)}
    weights: list[Hosted] = []
    outputs: list[Hosted] = []
    for name, wrapper in wrappers.items():
        node = owner.get(name)
        if node is None:
            continue
        for weight, quantizer, variables in getattr(wrapper, "_weight_vars", ()):
            if isinstance(quantizer, GridQuantizer):
                weights.append(Hosted(node.weight_site, node, wrapper, quantizer, variables, weight))
        for quantizer, variables in _outputs(wrapper):
            if isinstance(quantizer, GridQuantizer):
                outputs.append(Hosted(sites.grid_of[node.name], node, wrapper, quantizer, variables))
    order = {site.name: index for index, site in enumerate(sites.inventory)}
    hosted = sorted([*weights, *outputs], key=lambda h: order[h.site])
    for one in hosted:
        one.check()
        one.synchronize()
    ours = {one.site for one in hosted}
    entering = [node.site for node in graph.nodes if node.op == INPUT]
    layers = {site: wrappers.get(site) for site in entering if site not in ours}
    ranges = {name: getattr(layer, "quantizer_vars", None) or {} for name, layer in layers.items()}
    inputs = {name: _range_grid(own) for name, own in ranges.items() if {"min_var", "max_var"} <= set(own)}
    return HostedModel(model, graph, sites, tuple(hosted), inputs)


def begin(hosted: Sequence[Hosted]) -> None:
    """Start the methods of these quantizers. Raises MPQError where most of an activation's last batch would saturate.

    Activations were seen in training itself, with norms as training has them.
    """
    for one in hosted:
        one.begin()
    activations = {one.site: one for one in hosted if one.weight is None}
    check_holds({s: one.standing() for s, one in activations.items()}, {s: o.latest() for s, o in activations.items()})


def check_called_once(graph: Graph) -> None:
    """Raise ModelError where a layer is called twice: a TF-MOT wrapper has one quantizer for its output."""
    again = [node for node in graph.layers if node.layer is not None]
    if again:
        raise ModelError(
            f"layer {again[0].layer!r} is called twice, and a quantizer trains at one place; make two layers of it "
            "(with equal weights, if they must agree), or search after training instead"
        )


def _range_grid(variables: Mapping[str, Any]) -> Grid:
    """The power-of-two grid of 8 bits that holds a range; that of TF-MOT's quantizer of a model input."""
    low, high = float(variables["min_var"].numpy()), float(variables["max_var"].numpy())
    largest = max(-low, high, SMALLEST)
    return Grid.power_of_two(8, math.ceil(math.log2(largest)), signed=low < 0)


def _outputs(wrapper: Any) -> list[tuple[Any, dict[str, Any]]]:
    if hasattr(wrapper, "quantizer_vars"):  # a QuantizeLayer
        return [(wrapper.quantizer, wrapper.quantizer_vars)]
    found = [(q, wrapper._output_quantizer_vars) for q in getattr(wrapper, "_output_quantizers", ())[:1]]
    for activation in getattr(wrapper, "_quantize_activations", ()):
        post = getattr(activation, "_post_activation_vars", None)
        found.append((activation.quantizer, post or getattr(activation, "_pre_activation_vars", None)))
    return [(quantizer, variables) for quantizer, variables in found if variables]


def round_bias(wrapper: Any, steps: Sequence[float] | NDArray[np.float64] | None) -> None:
    """Let a wrapper of this package compute with its bias on the accumulator's steps; TF-MOT's own does not."""
    if isinstance(wrapper, QuantizeGridWrapper):
        wrapper.round_bias(steps)


def _replace_output(wrapper: Any, old: dict[str, Any], quantizer: GridQuantizer, variables: dict[str, Any]) -> None:
    steps = old["steps"]
    if getattr(wrapper, "_output_quantizers", ()) and wrapper._output_quantizer_vars["steps"] is steps:
        wrapper._output_quantizers = [quantizer]
        wrapper._output_quantizer_vars = variables
    for activation in getattr(wrapper, "_quantize_activations", ()):
        for name in ("_pre_activation_vars", "_post_activation_vars"):
            if getattr(activation, name, {}).get("steps") is steps:
                activation.quantizer = quantizer
                setattr(activation, name, variables)


def forget_functions(model: Any) -> None:
    """Let Keras trace the model anew, after its quantizers have changed."""
    training = model.train_function is not None
    model.train_function = model.test_function = model.predict_function = None
    if training:
        # fit looks the function up at every step, and may be running
        model.make_train_function(force=True)

"""Request: what a user asks of a post-training search, the same words in every adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mpq_plugins import registry
from mpq_plugins.allocation.allocator import infeasible, models_of, smallest_cost
from mpq_plugins.allocation.choices import arrange
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import CostError, MPQError, TargetError
from mpq_plugins.graph.limits import check_limits
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.sites import GraphSites
from mpq_plugins.hardware import known_targets
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.rounding.moments.holding import memory_limit
from mpq_plugins.search.chunk import Chunk
from mpq_plugins.search.headroom import with_headroom
from mpq_plugins.search.measurement import Measurements
from mpq_plugins.search.method import PostTrainingMethod
from mpq_plugins.search_input import Bits, MeasuredModel, Problem, candidates_for, check_budget
from mpq_plugins.training.method import TrainingMethod

if TYPE_CHECKING:
    from mpq_plugins.latency.clock import Timing

RATED_BITS = 8
"""The resolution of the histograms that a search keeps of activations."""


@dataclass(frozen=True)
class Request:
    """Target and method by name or value, budget, and the candidates that the user allows.

    weight_bits, activation_bits: candidates: a number, several, or a mapping from patterns of site
        names to either; None for all that the target has, and of activations without a budget the most bits.
    per_channel: None takes one step per output channel wherever the target has it. latency: what
        ``Budget(latency_ms=...)`` counts.
    memory_gb: gigabytes that the search may take beside the model and the data; None for the machine's.

    Raises TargetError, PluginError or MPQError for a name that is not registered or trains.
    """

    target: str | Target
    method: Any = "msqe"
    budget: Budget | None = None
    weight_bits: Bits = None
    activation_bits: Bits = None
    per_channel: bool | None = None
    latency: LatencyTable | None = None
    progress: bool | None = None
    memory_gb: float | None = None

    __hash__ = None  # type: ignore[assignment]  # holds mappings

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", known_targets.target(self.target))
        memory_limit(self.memory_gb)
        LatencyTable.check(self.latency)
        if self.per_channel is not None and not isinstance(self.per_channel, bool):
            raise MPQError(f"per_channel is True, False, or None for the target's own way, got {self.per_channel!r}")
        method = registry.host().method(self.method)
        if not isinstance(method, PostTrainingMethod):
            kind = f"of kind {method.kind!r}" if isinstance(method, TrainingMethod) else "no PostTrainingMethod"
            raise MPQError(f"method {self.method!r} is {kind}; a search takes post-training methods")

    @property
    def hardware(self) -> Target:
        """The target itself."""
        assert isinstance(self.target, Target)  # since __post_init__
        return self.target

    @property
    def memory(self) -> int:
        """Bytes that the search may take beside the model and the data."""
        return memory_limit(self.memory_gb)

    def check(self, inventory: Inventory) -> None:
        """Refuse what cannot work before anything is measured; raises as candidates_for does."""
        candidates = self._candidates(inventory)
        check_budget(candidates, self.budget)
        _check_rated(inventory, candidates)
        if self.latency is not None:
            self.latency.check_target(self.hardware.name)
            holes = self.latency.holes(inventory, {name: [c.bits for c in kinds] for name, kinds in candidates.items()})
            if holes:
                raise CostError(
                    f"the latency table has holes: {', '.join(holes)}; measure them, or narrow the candidates "
                    "(weight_bits, activation_bits)"
                )

    def search_graph(
        self,
        graph: Graph,
        sites: GraphSites,
        runner: Runner,
        chunks: Sequence[Chunk],
        framework: str,
        deploy: Callable[[Recipe], Timing],
    ) -> Recipe:
        """The recipe of a model that was read and checked, measured on the chunks of its calibration data.

        framework, deploy: as of ``search``. Raises as Measurements and check_limits do.
        """
        measured = Measurements(graph, sites, runner, chunks, self.progress, memory=self.memory)
        if self.budget is not None:
            measured.check_gradients()
        recipe = self.search(measured, framework, deploy)
        check_limits(QuantizedGraph(graph, recipe, sites.grid_of, self.hardware))
        return recipe

    def search(
        self,
        measured: MeasuredModel,
        framework: str,
        deploy: Callable[[Recipe], Timing] | None = None,
    ) -> Recipe:
        """The recipe that the method finds. framework: name and version, for the record.

        deploy: converts the model by a recipe and times it as a whole; see ``remeasured``.
        """
        recipe: Recipe = registry.host().method(self.method).search(self.problem(measured, framework))
        recipe = self.finish(recipe, measured)
        return recipe if deploy is None else self.remeasured(recipe, deploy)

    def remeasured(self, recipe: Recipe, deploy: Callable[[Recipe], Timing]) -> Recipe:
        """The recipe with the latency of the whole model, measured, beside what the table predicts.

        Only for a method that asks for it (``remeasures``), with a table that was measured on the device at hand.
        """
        table = self.latency
        if not registry.host().method(self.method).remeasures or table is None or table.device is None:
            return recipe
        here = registry.host().describe_device(self.hardware)
        if here.modelled or table.device.difference(here):
            return recipe
        timing = deploy(recipe)
        found = {"latency_ms": 1e3 * timing.seconds, "latency_spread_ms": 1e3 * timing.spread}
        predicted = {**recipe.predicted, "latency_ms": recipe.costs["latency_ms"]}
        return replace(recipe, predicted=predicted, measured={**recipe.measured, **found})

    def problem(self, measured: MeasuredModel, framework: str) -> Problem:
        """The search in numbers, as the method is given it; raises as candidates_for and check_budget do."""
        candidates = self._candidates(measured.inventory)
        check_budget(candidates, self.budget)
        meta = {"framework": framework}
        return Problem(measured, self.hardware, candidates, self.budget, self.cost_models(), meta, self.progress)

    def cost_models(self) -> dict[str, Any]:
        """By resource: those of plug-ins, and what the latency table counts."""
        return dict(registry.host().cost_models()) | ({} if self.latency is None else dict(self.latency.resources()))

    def check_reachable(self, inventory: Inventory) -> None:
        """Refuse a budget that no choice of candidates meets, or that nothing counts, before anything is measured.

        Raises InfeasibleBudget and BudgetError.
        """
        if self.budget is not None:
            bits = {name: [c.bits for c in kinds] for name, kinds in self._candidates(inventory).items()}
            choices = arrange(inventory, bits, {name: [0.0] * len(b) for name, b in bits.items()},
                              models_of(self.budget.limits(), self.cost_models()))  # fmt: skip
            limits = self.budget.limits()
            if any((smallest_cost(choices, name, {}) or 0.0) > limit for name, limit in limits.items()):
                raise infeasible(choices, limits)

    def finish(self, recipe: Recipe, measured: MeasuredModel) -> Recipe:
        """What every recipe of a method goes through: grids coarse enough for the biases, and the target in it."""
        biases = {site.name: measured.bias(site.name) for site in measured.inventory.weights}
        found = with_headroom(recipe, measured.inventory, biases)
        return replace(found, target=known_targets.for_recipe(self.hardware))  # type: ignore[arg-type]  # a Target is both

    def _candidates(self, inventory: Inventory) -> dict[str, Any]:
        found = candidates_for(inventory, self.hardware, self.weight_bits, self.activation_bits, self.per_channel)
        if self.budget is not None or self.activation_bits is not None:
            return found
        # nothing asks for fewer bits of an activation
        return {name: kinds if inventory[name].kind == "weight" else _most_bits(kinds) for name, kinds in found.items()}


def _most_bits(kinds: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    return tuple(kind for kind in kinds if kind.bits <= RATED_BITS)[-1:] or kinds


def _check_rated(inventory: Inventory, candidates: Mapping[str, Sequence[Candidate]]) -> None:
    """Raise TargetError for an activation with more bits than a search's histograms tell apart."""
    for site in inventory.activations:
        wide = sorted(kind.bits for kind in candidates[site.name] if kind.bits - kind.signed > RATED_BITS)
        if wide:
            raise TargetError(
                f"site {site.name!r} may have {', '.join(map(str, wide))} bits, and a search rates activations of up "
                f"to {RATED_BITS} bits, {RATED_BITS + 1} with a sign; narrow activation_bits, or write a recipe by "
                "hand (Recipe.from_inventory), which simulations and integer programs take"
            )

"""Request: what a user asks of a post-training search, the same words in every adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mpq_plugins import plugins
from mpq_plugins.allocation import infeasible, models_of, smallest_cost
from mpq_plugins.budget import Budget
from mpq_plugins.errors import CostError, MPQError
from mpq_plugins.headroom import with_headroom
from mpq_plugins.inventory import Inventory
from mpq_plugins.latency_table import LatencyTable
from mpq_plugins.problem import Bits, MeasuredModel, Problem, candidates_for, check_budget
from mpq_plugins.recipe import Recipe
from mpq_plugins.solving.choices import arrange
from mpq_plugins.targets import Target

if TYPE_CHECKING:
    from mpq_plugins.latency.clock import Timing

FLOAT_OPS = "float_ops"
"""Entry of ``Recipe.meta`` that lists the ops which stay float."""


@dataclass(frozen=True)
class Request:
    """Target and method by name or value, budget, and the candidates that the user allows.

    weight_bits, activation_bits: candidates: a number, several, or a mapping from patterns of site
        names to either; None for all that the target has. per_channel: None takes one step per
        output channel wherever the target has it. latency: what ``Budget(latency_ms=...)`` counts.

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

    __hash__ = None  # type: ignore[assignment]  # holds mappings

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", plugins.target(self.target))
        kind = getattr(plugins.method(self.method), "kind", None)
        if kind != "post-training":
            raise MPQError(f"method {self.method!r} is of kind {kind!r}; a search takes post-training methods")

    def check(self, inventory: Inventory) -> None:
        """Refuse what cannot work before anything is measured; raises as candidates_for does."""
        candidates = self._candidates(inventory)
        check_budget(candidates, self.budget)
        if self.latency is not None:
            assert isinstance(self.target, Target)
            self.latency.check_target(self.target.name)
            holes = self.latency.holes(inventory, {name: [c.bits for c in kinds] for name, kinds in candidates.items()})
            if holes:
                raise CostError(
                    f"the latency table has holes: {', '.join(holes)}; measure them, or narrow the candidates "
                    "(weight_bits, activation_bits)"
                )

    def search(
        self,
        measured: MeasuredModel,
        framework: str,
        float_ops: tuple[str, ...] = (),
        deploy: Callable[[Recipe], Timing] | None = None,
    ) -> Recipe:
        """The recipe that the method finds. framework: name and version, for the record.

        deploy: converts the model by a recipe and times it as a whole; see ``remeasured``.
        """
        recipe: Recipe = plugins.method(self.method).search(self.problem(measured, framework, float_ops))
        recipe = self.finish(recipe, measured)
        return recipe if deploy is None else self.remeasured(recipe, deploy)

    def remeasured(self, recipe: Recipe, deploy: Callable[[Recipe], Timing]) -> Recipe:
        """The recipe with the latency of the whole model, measured, beside what the table predicts (in ``meta``).

        Only for a method that asks for it (``remeasures``), with a table that was measured on the device at hand.
        """
        table = self.latency
        if not getattr(plugins.method(self.method), "remeasures", False) or table is None or table.device is None:
            return recipe
        assert isinstance(self.target, Target)
        here = plugins.host().describe_device(self.target)
        if here.modelled or table.device.difference(here):
            return recipe
        timing = deploy(recipe)
        found = {
            "latency_predicted_ms": f"{recipe.costs['latency_ms']:.4g}",
            "latency_measured_ms": f"{1e3 * timing.seconds:.4g}",
            "latency_spread_ms": f"{1e3 * timing.spread:.2g}",
        }
        return replace(recipe, meta=dict(recipe.meta) | found)

    def problem(self, measured: MeasuredModel, framework: str, float_ops: tuple[str, ...] = ()) -> Problem:
        """The search in numbers, as the method is given it; raises as candidates_for and check_budget do."""
        candidates = self._candidates(measured.inventory)
        check_budget(candidates, self.budget)
        meta = {"framework": framework} | float_meta(measured.inventory, float_ops)
        assert isinstance(self.target, Target)
        return Problem(measured, self.target, candidates, self.budget, self.cost_models(), meta, self.progress)

    def cost_models(self) -> dict[str, Any]:
        """By resource: those of plug-ins, and what the latency table counts."""
        return dict(plugins.cost_models()) | ({} if self.latency is None else dict(self.latency.resources()))

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
        """What every recipe of a method goes through: grids coarse enough for the biases."""
        biases = {site.name: measured.bias(site.name) for site in measured.inventory.weights}
        return with_headroom(recipe, measured.inventory, biases)

    def _candidates(self, inventory: Inventory) -> dict[str, Any]:
        assert isinstance(self.target, Target)
        return candidates_for(inventory, self.target, self.weight_bits, self.activation_bits, self.per_channel)


def float_meta(inventory: Inventory, float_ops: Sequence[str]) -> dict[str, str]:
    """What a recipe's meta says of its float parts: their names, why, and the share of the MACs that is quantized.

    >>> inventory = Inventory([], float_macs={"softmax": 8}, float_reasons={"softmax": "no kernel for it"})
    >>> float_meta(inventory, ["softmax"])
    {'float_ops': 'softmax', 'float_reasons': 'softmax: no kernel for it', 'quantized_macs': '0.0 %'}
    >>> float_meta(Inventory([]), [])
    {}
    """
    if not float_ops:
        return {}
    by_reason: dict[str, list[str]] = {}
    for name in float_ops:
        by_reason.setdefault(inventory.float_reasons.get(name, "not said"), []).append(name)
    reasons = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in by_reason.items())
    share = f"{100 * inventory.quantized_macs:.1f} %"
    return {FLOAT_OPS: ", ".join(float_ops), "float_reasons": reasons, "quantized_macs": share}


def float_ops_of(meta: Mapping[str, str]) -> tuple[str, ...]:
    """The ops that a recipe with this meta leaves in float.

    >>> float_ops_of({"float_ops": "gelu, softmax"}), float_ops_of({})
    (('gelu', 'softmax'), ())
    """
    return tuple(name for name in meta.get(FLOAT_OPS, "").split(", ") if name)

"""Search: find grids while the user's own loop trains the model."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_plugins import plugins
from mpq_plugins.costs.budget import Budget, limits_of
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.target import Target
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search_input import Bits
from mpq_plugins.training.checkpoint import WITHOUT_BANKS, check_search
from mpq_plugins.training.history import History, Record
from mpq_plugins.training.method import Progress, TrainingMethod
from mpq_plugins.training.plan import TrainingPlan
from mpq_plugins.training.reach import notice_at_start, notice_on_the_way, warn
from mpq_plugins.training.settling import settling_step
from mpq_torch.array_ops.ops import TORCH
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.batches import as_batch, as_batches
from mpq_torch.calling.own_copy import copied
from mpq_torch.reader.check import check_reading
from mpq_torch.training.batch_norms import BatchNorms
from mpq_torch.training.calibration import start
from mpq_torch.training.choosing import chosen
from mpq_torch.training.expected_bits import ExpectedBits
from mpq_torch.training.float_layers import accumulator_steps
from mpq_torch.training.folded_copy import folded_copy
from mpq_torch.training.graph import PREPARATION, build, observe, observed_by_slot, weights_by_slot
from mpq_torch.training.grid_bank import GridBank
from mpq_torch.training.last_inputs import LastInputs
from mpq_torch.training.parameter_groups import groups_of
from mpq_torch.training.preparation import CLOCK, check_whole
from mpq_torch.training.written import read_written


class Search:
    """Grids that are learned, or followed, while a loop of the user's own trains ``search.model``.

        search = Search(model, example_inputs, target="torch-x86", budget=budget, method="hmq", steps=2000)
        optimizer = torch.optim.SGD(search.parameter_groups(lr=0.01), momentum=0.9)
        for x, y in loader:
            loss = criterion(search.model(x), y) + search.penalty()
            loss.backward(); optimizer.step(); optimizer.zero_grad(); search.step()
        recipe = search.harden()                            # go on training: bits and thresholds are fixed now
        int8 = fx.quantize(search.float_model(), recipe, example_inputs)

    model: the float model, which is copied. example_inputs: a batch; calibration: batches from which
    activations take their first thresholds, by default the example; where running statistics do not describe
    them (an untrained model), with batches normalized by their own.
    method: a training method, by name or as a value with hyper-parameters of its own.
    recipe: grids' bits from another search, for methods that train at fixed bits.
    steps: optimizer steps of the search, for schedules; epoch_steps: of one pass over the data.
    batch_norms: see mpq_torch.training.trained_layer. seed: of the method's draws, the same on every
    replica. Other arguments as for fx.search.

    ``search.model`` can be moved to a device, run under autocast with a GradScaler, be checkpointed, compiled as a
    whole (torch.compile(search.model, fullgraph=True)), copied (AveragedModel), and wrapped in
    DistributedDataParallel, before and after harden(); fully_shard is refused. It has no dropout.
    ``history`` keeps a record every ``record_every`` steps; nothing waits for the device in between.
    A search that will not get down to its budget by itself says so in a BudgetWarning, with what it would take: before
    it begins where its steps cannot suffice, and half and three quarters of the way to its final choices by its pace.
    Raises what fx.search raises, and NonFiniteValues, naming the site and the step, when training diverges: at
    the next record.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        target: str | Target,
        budget: Budget | None = None,
        method: str | TrainingMethod = "hmq",
        *,
        weight_bits: Bits = None,
        activation_bits: Bits = None,
        per_channel: bool | None = None,
        keep_float: Iterable[str] = (),
        latency: LatencyTable | None = None,
        recipe: Recipe | None = None,
        calibration: Iterable[Any] | Tensor | None = None,
        steps: int = 1000,
        epoch_steps: int | None = None,
        batch_norms: BatchNorms = "fold",
        seed: int = 0,
        record_every: int = 50,
    ) -> None:
        for what, count in {"steps": steps, "epoch_steps": epoch_steps or 1, "record_every": record_every}.items():
            if not isinstance(count, Integral) or count < 1:
                raise MPQError(f"a search needs at least one step, got {what}={count!r}")
        takes = takes_of(model)
        example = as_batch(example_inputs, takes)
        batches = [example] if calibration is None else as_batches(calibration, takes)
        written = read_written(model, batches[0], keep_float, plugins.target(target))
        check_reading(model, written.reading, example)
        if recipe is not None:
            recipe.check_fits(written.inventory)
            weight_bits = {entry.site: entry.grid.bits for entry in recipe.weights}
            activation_bits = {entry.site: entry.grid.bits for entry in recipe.activations}
            per_channel = any(entry.grid.axis is not None for entry in recipe.weights)
        self.plan = TrainingPlan.of(
            written.inventory, target, method, budget, weight_bits, activation_bits, per_channel, latency
        )
        warn(notice_at_start(self.plan, steps))
        self._inputs = written.inputs()
        histograms = observe(written, batches)
        self._written = copy.deepcopy(written.graph)
        self._training = build(model, written, self.plan, batch_norms, seed)
        self.model: fx.GraphModule = self._training.graph
        self.model.train()
        self._observed = observed_by_slot(self._training, self.plan, histograms)
        start(self._training, self._observed, batches)
        self._settled = False
        self.steps, self.epoch_steps = steps, epoch_steps or steps
        self.steps_done = 0
        self.record_every = record_every
        self.history = History()
        self._recipe: Recipe | None = None
        self._costs = ExpectedBits(self.plan, self._banks)
        self._last_inputs: LastInputs = LastInputs()
        self._advance()
        self.model.register_forward_pre_hook(self._last_inputs.keep)
        self.model.register_forward_pre_hook(self._before_forward)

    @property
    def method(self) -> TrainingMethod:
        """The method that trains."""
        return self.plan.method

    @property
    def progress(self) -> Progress:
        """Where the search is."""
        return Progress(self.steps_done, self.steps, self.epoch_steps)

    def penalty(self) -> Tensor:
        """What the loop adds to its loss: the method's terms of the budget and of the weights.

        A scalar with gradient, after a forward pass in train(); zero once the search is hardened.
        """
        if self._recipe is not None:
            return self._zero()
        spent = self._costs.spent(self._costs.now())
        total: Tensor = self._zero() + self.method.penalty(TORCH, spent, self._controls())
        for term in self._training.preparation.regularization():
            total = total + term
        return total

    def step(self) -> None:
        """To be called after every optimizer.step(): projections, transitions, schedules, the next draws.

        Every ``record_every`` steps it looks whether all has been finite, which waits for the device.
        """
        check_whole(list(self.model.parameters()))
        if self.steps_done % self.record_every == 0:
            self.check_finite()
        if self._recipe is None:
            for bank in self._banks:
                bank.after_step()
            if self.steps_done % self.record_every == 0:
                self.history.add(self._record())
                warn(notice_on_the_way(self.method, self._limits, self.history.records, self.steps))
        self.steps_done += 1
        self._training.completion.held[CLOCK].fill_(self.steps_done)
        if self._recipe is None:
            if not _is_distributed():
                self._settle_if_due()
            self._advance()

    def check_finite(self) -> None:
        """Raise NonFiniteValues, naming the first step whose output was not finite, and a site, if there was one."""
        first = self._training.completion.first_bad_step()
        if first is None:
            return
        where = self._last_inputs.first_not_finite(self.model) or "the output"
        raise NonFiniteValues(
            f"step {first}: the model's output is not finite, first at {where}; lower the learning rate, or, in half "
            "precision, the scale of the loss"
        )

    def harden(self) -> Recipe:
        """Choose the grid of every site within the budget; from here on the model trains at these grids.

        Called again it returns the same recipe. Raises MPQError before any step.
        """
        if self._recipe is not None:
            return self._recipe
        if self.steps_done == 0:
            raise MPQError("nothing has been learned yet: train at least one step, and call step(), before harden()")
        grids, reasons = self._chosen()
        self._recipe = self.plan.recipe(grids, reasons, self._meta())
        for bank in self._banks:
            bank.freeze([grids[slot.name] for slot in bank.plain.slots])
        self._round_biases(self._recipe)
        return self._recipe

    def costs(self) -> dict[str, float]:
        """What the choice of the moment costs of every limited resource."""
        if self._recipe is not None:
            return self.plan.costs_of({name: self._recipe[name].bits for name in self.plan.slots})
        return self.plan.costs_of({name: grid.bits for name, grid in self._training.grids().items()})

    def float_model(self) -> nn.Module:
        """The trained float model, in eval(): of the user's class where all its layers are modules of it."""
        own = self._training.float_model
        if own is not None:
            return copied(own).eval()
        return folded_copy(self._written, self._training.layers).eval()

    def parameter_groups(
        self, lr: float, weight_decay: float = 0.0, quantizer_lr: float | None = None
    ) -> list[dict[str, Any]]:
        """Groups for an optimizer: weights with decay, biases and norms without, and the methods' parameters.

        quantizer_lr: by default ``lr`` times the method's own factor for each slot.
        """
        return groups_of(self.model, self._banks, self.method, lr, weight_decay, quantizer_lr)

    def freeze_batch_norms(self) -> None:
        """From here on batch norms use their running statistics, which stay as they are."""
        for layer in self._training.layers.values():
            if layer.mode == "fold":
                layer.mode = "freeze"

    def state_dict(self) -> dict[str, Any]:
        """All that a search needs to go on as if it had not been stopped (beside the optimizer's state)."""
        return {
            "method": self.method.name,
            "steps_done": self.steps_done,
            "steps": self.steps,
            "settled": self._settled,
            "model": self.model.state_dict(),
            "recipe": None if self._recipe is None else self._recipe.to_json(),
            "batch_norms": {path: layer.mode for path, layer in self._training.layers.items()},
            "history": self.history.to_json(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; raises MPQError where it is of another method or of no search."""
        check_search(state, self.method)
        if not any(name.startswith(f"{PREPARATION}.") for name in state["model"]):
            raise MPQError(WITHOUT_BANKS)
        self.model.load_state_dict(state["model"])
        self.steps_done, self.steps = int(state["steps_done"]), int(state["steps"])
        self._training.completion.held[CLOCK].fill_(self.steps_done)
        self._settled = bool(state.get("settled", False))
        self.history = History.from_json(state["history"])
        for path, mode in state["batch_norms"].items():
            self._training.layers[path].mode = mode
        self._recipe = None if state["recipe"] is None else Recipe.from_json(state["recipe"])

    def _chosen(self) -> tuple[dict[str, Grid], dict[str, str]]:
        """The grid of every slot within the budget, and reasons."""
        return chosen(self.plan, self._banks, weights_by_slot(self._training, self.plan), self._observed)

    def _settle_if_due(self) -> None:
        """Where choices become final, let those of every group use the budget; from here on nothing is open."""
        due = settling_step(self.method, self.steps)
        if self._settled or due is None or self.steps_done < due or self._recipe is not None:
            return
        self.check_finite()
        grids, _ = self._chosen()
        for bank in self._banks:
            bank.settle([grids[slot.name] for slot in bank.plain.slots])
        self._settled = True

    def _before_forward(self, module: nn.Module, inputs: Any) -> None:
        """Replicas settle when a step begins, at which all have the same buffers."""
        if module.training and _is_distributed() and not torch.compiler.is_compiling():
            self._settle_if_due()

    def _round_biases(self, recipe: Recipe) -> None:
        """Put biases on the accumulators' steps, which are known once all grids are fixed."""
        for path, inputs in self._inputs.items():
            layer = self._training.layers[path]
            weight, grids = recipe[f"{path}.weight"], [recipe[name] for name in inputs]
            layer.bias_steps = accumulator_steps(layer.layer, weight, grids).to(layer.layer.weight)

    def _meta(self) -> dict[str, str]:
        return {"framework": f"torch {torch.__version__}", "trained_steps": str(self.steps_done)}

    @property
    def _limits(self) -> dict[str, float]:
        return limits_of(self.plan.budget)

    @property
    def _banks(self) -> Sequence[GridBank]:
        return self._training.banks

    def _advance(self) -> None:
        progress = self.progress
        for bank in self._banks:
            bank.advance(progress)

    def _controls(self) -> dict[str, Tensor]:
        """Those of the first weight's bank speak for the whole."""
        return next(bank for bank in self._banks if bank.plain.kind == "weight").controls_now()

    def _zero(self) -> Tensor:
        return torch.zeros((), device=next(self.model.parameters()).device)

    def _record(self) -> Record:
        leading = next(bank for bank in self._banks if bank.plain.kind == "weight")
        names = self.method.controls(leading.plain, self.progress)
        with torch.no_grad():
            expected = self._costs.now()
            spent = self._costs.spent(expected)
            penalty = float(self._zero() + self.method.penalty(TORCH, spent, self._controls()))
            thresholds = {name: float(np.max(grid.threshold)) for name, grid in self._training.grids().items()}
        return Record(
            self.steps_done,
            penalty,
            dict(zip(self.plan.costs.slots, expected.tolist(), strict=True)),
            {name: thresholds[name] for name in self.plan.slots},
            {name: float(self._controls()[name]) for name in names},
            {s.resource: float(s.cost) for s in spent},
        )


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()

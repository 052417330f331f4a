"""Search: find grids while the user's own loop trains the model."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.budget import Budget
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.latency_table import LatencyTable
from mpq_plugins.problem import Bits
from mpq_plugins.recipe import Recipe
from mpq_plugins.request import FLOAT_OPS
from mpq_plugins.targets import Target
from mpq_plugins.training.history import History, Record
from mpq_plugins.training.method import Progress, TrainingMethod
from mpq_plugins.training.plan import TrainingPlan, own_choices
from mpq_plugins.training.slot import Slot
from mpq_torch.batches import arguments_of, as_batch, as_batches
from mpq_torch.fake_quantize import PO2FakeQuantize
from mpq_torch.ops import TORCH
from mpq_torch.tracing_check import check_traced
from mpq_torch.training.float_layers import accumulator_steps, set_bias, set_weight
from mpq_torch.training.graph import build, first_not_finite, observe, observed_by_slot
from mpq_torch.training.learned_grid import LearnedGrid
from mpq_torch.training.slot_quantizer import SlotQuantizer
from mpq_torch.training.trained_layer import BatchNorms
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
    activations take their first thresholds, by default the example.
    method: a training method, by name or as a value with hyper-parameters of its own.
    recipe: grids' bits from another search, for methods that train at fixed bits.
    steps: optimizer steps of the search, for schedules; epoch_steps: of one pass over the data.
    batch_norms: see mpq_torch.training.trained_layer. seed: of the method's draws, the same on every
    replica. Other arguments as for fx.search.

    ``search.model`` can be moved to a device, run under autocast, or be wrapped in DistributedDataParallel
    (with find_unused_parameters=True, since not every method uses all its parameters in every step); it has
    no dropout, and torch.compile cannot take it as a whole. ``history`` keeps a record every ``record_every`` steps.
    Raises what fx.search raises, and NonFiniteValues, naming the site and the step, when training diverges.
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
        if steps < 1:
            raise MPQError(f"a search needs at least one step, got steps={steps}")
        arguments = arguments_of(model)
        example = as_batch(example_inputs, arguments)
        batches = [example] if calibration is None else as_batches(calibration, arguments)
        written = read_written(model, batches[0], keep_float)
        check_traced(model, written, example)
        if recipe is not None:
            recipe.check_fits(written.inventory)
            weight_bits = {entry.site: entry.grid.bits for entry in recipe.weights}
            activation_bits = {entry.site: entry.grid.bits for entry in recipe.activations}
            per_channel = any(entry.grid.axis is not None for entry in recipe.weights)
        self.plan = TrainingPlan.of(
            written.inventory, target, method, budget, weight_bits, activation_bits, per_channel, latency
        )
        self._inputs = written.inputs()
        histograms = observe(written, batches)
        self._written = copy.deepcopy(written.graph)
        self._float_ops = written.float_ops
        self._training = build(model, written, self.plan, lambda slot: self._quantizer(slot, seed), batch_norms)
        self.model: fx.GraphModule = self._training.graph
        self._slots: dict[str, SlotQuantizer] = {
            name: fake.activation_post_process.quantizer for name, fake in self._training.quantizers.items()
        }
        for slot, observed in observed_by_slot(self._training, self.plan, histograms).items():
            self._slots[slot].start(observed)
        self.steps, self.epoch_steps = steps, epoch_steps or steps
        self.steps_done = 0
        self.record_every = record_every
        self.history = History()
        self._recipe: Recipe | None = None
        self._advance()
        self._previous = self._copied_parameters()
        self.model.register_forward_hook(self._check_finite)
        self.model.train()

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
        Raises NonFiniteValues when it is not finite.
        """
        if self._recipe is not None:
            return self._zero()
        expected = self._expected_bits()
        controls = self._controls()
        total = self._zero() + self.method.penalty(TORCH, self.plan.spent(TORCH, expected), controls)
        for name, quantizer in self._slots.items():
            if quantizer.regularization is not None:
                if not torch.isfinite(quantizer.regularization):
                    raise NonFiniteValues(f"step {self.steps_done}: the regularization of {name} is not finite")
                total = total + quantizer.regularization
        if not torch.isfinite(total):
            raise NonFiniteValues(f"step {self.steps_done}: the penalty of the budget is {float(total)}")
        return total

    def step(self) -> None:
        """To be called after every optimizer.step(): projections, transitions, schedules, the next draws."""
        if self._recipe is None:
            previous = self._previous
            for name, quantizer in self._slots.items():
                quantizer.after_step(previous[name])
            if self.steps_done % self.record_every == 0:
                self.history.add(self._record())
        self.steps_done += 1
        if self._recipe is None:
            self._advance()
            self._previous = self._copied_parameters()

    def harden(self) -> Recipe:
        """Choose the grid of every site within the budget; from here on the model trains at these grids.

        Called again it returns the same recipe. Raises MPQError before any step.
        """
        if self._recipe is not None:
            return self._recipe
        if self.steps_done == 0:
            raise MPQError("nothing has been learned yet: train at least one step, and call step(), before harden()")
        numbers = {name: quantizer.numbers() for name, quantizer in self._slots.items()}
        preferences = own_choices(
            self.plan, {n: p for n, (p, _) in numbers.items()}, {n: s for n, (_, s) in numbers.items()}
        )
        bits, reasons, _ = self.plan.choose(preferences)
        weights = observed_by_slot(self._training, self.plan, {})
        grids = {name: quantizer.harden(bits[name], weights.get(name)) for name, quantizer in self._slots.items()}
        self._recipe = self.plan.recipe(grids, reasons, self._meta())
        for name, quantizer in self._slots.items():
            quantizer.freeze(grids[name])
        self._round_biases(self._recipe)
        return self._recipe

    def float_model(self) -> nn.Module:
        """The trained float model, in eval(): of the user's class where all its layers are modules of it."""
        own = self._training.float_model
        if own is not None:
            return copy.deepcopy(own).eval()
        graph = copy.deepcopy(self._written)
        for path, layer in self._training.layers.items():
            target = graph.get_submodule(path)
            set_weight(path, target, layer.folded_weight().detach())
            bias = layer.layer.bias if layer.norm is None else layer.folded_bias()
            if bias is not None:
                set_bias(target, bias.detach())
        return graph.eval()

    def parameter_groups(self, lr: float, weight_decay: float = 0.0, quantizer_lr: float | None = None) -> list[dict]:
        """Groups for an optimizer: weights with decay, biases and norms without, and the methods' parameters.

        quantizer_lr: by default ``lr`` times the method's own factor for each slot.
        """
        learned: dict[float, list[nn.Parameter]] = {}
        owned = set()
        for name, quantizer in self._slots.items():
            factor = self.method.gradient_scale(self.plan.slots[name])
            for parameter in quantizer.parameters():
                owned.add(id(parameter))
                learned.setdefault(factor, []).append(parameter)
        rest = [p for p in self.model.parameters() if id(p) not in owned]
        groups: list[dict] = [
            {"params": [p for p in rest if p.dim() > 1], "lr": lr, "weight_decay": weight_decay, "name": "weights"},
            {"params": [p for p in rest if p.dim() <= 1], "lr": lr, "weight_decay": 0.0, "name": "biases and norms"},
        ]
        for factor, parameters in learned.items():
            rate = lr * factor if quantizer_lr is None else quantizer_lr
            groups.append({"params": parameters, "lr": rate, "weight_decay": 0.0, "name": f"quantizers x {factor:g}"})
        return [group for group in groups if group["params"]]

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
            "model": self.model.state_dict(),
            "recipe": None if self._recipe is None else self._recipe.to_json(),
            "batch_norms": {path: layer.mode for path, layer in self._training.layers.items()},
            "history": self.history.to_json(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; raises MPQError where it is of another method or of no search."""
        missing = {"method", "steps_done", "model"} - set(state)
        if missing:
            raise MPQError(f"this is no checkpoint of a search: it has no {', '.join(sorted(missing))}")
        if state["method"] != self.method.name:
            raise MPQError(
                f"the checkpoint is of method {state['method']!r}, and this search trains with {self.method.name!r}; "
                "build the search with the checkpoint's method"
            )
        self.model.load_state_dict(state["model"])
        self.steps_done, self.steps = int(state["steps_done"]), int(state["steps"])
        self.history = History.from_json(state["history"])
        for path, mode in state["batch_norms"].items():
            self._training.layers[path].mode = mode
        self._recipe = None if state["recipe"] is None else Recipe.from_json(state["recipe"])
        self._previous = self._copied_parameters()

    def _round_biases(self, recipe: Recipe) -> None:
        """Put biases on the accumulators' steps, which are known once all grids are fixed."""
        for path, inputs in self._inputs.items():
            layer = self._training.layers[path]
            weight, grids = recipe[f"{path}.weight"], [recipe[name] for name in inputs]
            layer.bias_steps = accumulator_steps(layer.layer, weight, grids).to(layer.layer.weight)

    def _quantizer(self, slot: Slot, seed: int) -> PO2FakeQuantize:
        return PO2FakeQuantize.hosting(LearnedGrid.of(SlotQuantizer(self.plan.method, slot, seed=seed)))

    def _meta(self) -> dict[str, str]:
        meta = {"framework": f"torch {torch.__version__}", "trained_steps": str(self.steps_done)}
        return meta | ({FLOAT_OPS: ", ".join(self._float_ops)} if self._float_ops else {})

    def _advance(self) -> None:
        progress = self.progress
        for quantizer in self._slots.values():
            quantizer.advance(progress)

    def _copied_parameters(self) -> dict[str, dict[str, Tensor]]:
        return {
            name: {k: v.detach().clone() for k, v in quantizer.parameters_now().items()}
            for name, quantizer in self._slots.items()
        }

    def _expected_bits(self) -> dict[str, Tensor]:
        return {name: quantizer.expected_bits() for name, quantizer in self._slots.items()}

    def _controls(self) -> dict[str, Tensor]:
        return self._slots[self._leading.name].state_now()

    def _zero(self) -> Tensor:
        return torch.zeros((), device=next(self.model.parameters()).device)

    def _record(self) -> Record:
        with torch.no_grad():
            expected = self._expected_bits()
            controls = {n: float(v) for n, v in self._controls().items() if v.dim() == 0 and n in self._control_names()}
            spent = self.plan.spent(TORCH, expected)
            penalty = float(self._zero() + self.method.penalty(TORCH, spent, self._controls()))
            thresholds = {name: _threshold(quantizer) for name, quantizer in self._slots.items()}
        return Record(
            self.steps_done,
            penalty,
            {name: float(bits.mean()) for name, bits in expected.items()},
            thresholds,
            controls,
            {s.resource: float(s.cost) for s in spent},
        )

    def _control_names(self) -> set[str]:
        return set(self.method.controls(self._leading, self.progress))

    @property
    def _leading(self) -> Slot:
        """The slot whose controls speak for the whole: the first weight."""
        return next(slot for slot in self.plan.slots.values() if slot.kind == "weight")

    def _check_finite(self, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(output, Tensor) and not torch.compiler.is_compiling() and not torch.isfinite(output).all():
            where = first_not_finite(self.model, inputs) or "the output"
            raise NonFiniteValues(
                f"step {self.steps_done}: the model's output is not finite, first at {where}; lower the learning rate"
            )


def _threshold(quantizer: SlotQuantizer) -> float:
    """The largest threshold of the slot's grid of the moment."""
    grid = quantizer.harden()
    return max(grid.steps) * 2.0 ** (grid.bits - grid.signed)

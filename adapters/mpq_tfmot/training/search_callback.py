"""SearchCallback: a search for grids in the user's own ``model.fit``."""

from __future__ import annotations

from typing import Any

from mpq_plugins.costs.budget import Budget, limits_of
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.hardware.target import Target
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.training.history import History, log_record
from mpq_plugins.training.method import Progress
from mpq_plugins.training.reach import notice_at_start, notice_on_the_way, warn
from mpq_plugins.training.settling import settling_step
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.training.hardening import TARGET, harden, nothing_to_search, plan_of, remember_terms, settle
from mpq_tfmot.training.hosted import Hosted, begin, forget_functions, hosted_model
from mpq_tfmot.training.quantizers import OBSERVING, TRAINING
from mpq_tfmot.training.search_session import SearchSession

OBSERVED = 8
"""Training batches after which activations get their first thresholds."""


class SearchCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Trains the grids of a quantized model beside its weights: ``model.fit(..., callbacks=[SearchCallback(budget)])``.

    budget: needed where layers have several candidates. target: name, path or Target that the recipe is for.
    steps: optimizer steps of the search, for schedules; by default all of this ``fit`` (its epochs times
        their steps). After them the model is hardened, as by ``harden``, and ``fit`` goes on at fixed grids.
    observe: training batches after which activations get their first thresholds, until when they are
        on 2**k grids that clip nothing.
    latency: for ``Budget(latency_ms=...)``. record_every: steps between two records of the history, at which it looks
        whether all has been finite; nothing waits for the device in between.
    log_dir: of TensorBoard, where records are written too.

    ``history``: a mpq_plugins.training.history.History. ``recipe``: that of the hardened model, or None.
    All that a search knows lies in variables of the model: a saved and loaded model goes on where it
    stopped, with another callback of the same arguments (name ``steps`` then). Put it behind a callback that
    restores (BackupAndRestore) and before those that save. Needs steps_per_execution 1.

    A search that will not get down to its budget by itself says so in a BudgetWarning, with what it would take: before
    it begins where its steps cannot suffice, and half and three quarters of the way to its final choices by its pace.

    Raises InfeasibleBudget with the smallest reachable values, MPQError where nothing can be searched, or where most
    of an activation would saturate at its first threshold, and NonFiniteValues, naming the site and the step, when
    training diverges: at the next record.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        target: str | Target = TARGET,
        *,
        steps: int | None = None,
        observe: int = OBSERVED,
        latency: LatencyTable | None = None,
        record_every: int = 50,
        log_dir: str | None = None,
    ) -> None:
        super().__init__()
        if (steps is not None and steps < 1) or observe < 1 or record_every < 1:
            raise MPQError(f"steps, observe and record_every are at least 1, got {steps}, {observe} and {record_every}")
        self.budget, self.target, self.latency = budget, target, latency
        self.steps, self.observe, self.record_every = steps, observe, record_every
        self.history = History()
        self.recipe: Recipe | None = None
        self._session: SearchSession | None = None
        self._loss: Any = None
        self._writer = None if log_dir is None else _Scalars(log_dir)
        self._done = self._total = self._epoch_steps = 0
        self._supports_tf_logs = True  # else Keras reads the loss at every step

    def on_train_begin(self, logs: Any = None) -> None:
        """Start the methods where they have not started, and join the loss."""
        model = self.model
        if int(model._steps_per_execution.numpy() if model._steps_per_execution is not None else 1) != 1:
            raise MPQError("a search looks at the model after every step; compile it with steps_per_execution=1")
        hosted = hosted_model(model)
        searched = [h for h in hosted.hosted if h.quantizer.method is not None]
        if not searched:
            if self.recipe is None:
                nothing_to_search(hosted)
            return
        per_epoch, epochs = self.params.get("steps"), self.params.get("epochs") or 1
        if per_epoch is None and self.steps is None:
            raise MPQError(
                "the number of steps per epoch is unknown; give SearchCallback(steps=...), or fit(steps_per_epoch=...)"
            )
        self._total = self.steps or per_epoch * epochs
        self._epoch_steps = per_epoch or self._total
        self._done = max(h.clock for h in searched)
        plan = plan_of(hosted, self.target, self.budget, self.latency)
        remember_terms(model, self.target, self.budget, self.latency)
        if not self._done:
            warn(notice_at_start(plan, self._total))
            begin([h for h in searched if h.quantizer.phase == TRAINING])
        _build_optimizer(model)
        self._loss = _join_loss(model, lambda: self._session.penalty() if self._session is not None else 0.0)
        self._renew()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Move the search on by one step."""
        session = self._session
        if session is None:
            return
        step = self._done
        self._done += 1
        with self.model.distribute_strategy.scope():
            session.after_step(self._progress(), (logs or {}).get("loss", 0.0))
        if step % self.record_every == 0:
            self._check()
            self._record(step)
        if self._done >= self.observe and any(h.quantizer.phase == OBSERVING for h in session.searched):
            self._check()
            with self.model.distribute_strategy.scope():
                self._begin([h for h in session.searched if h.quantizer.phase == OBSERVING])
            self._renew()
        if self._done == settling_step(session.plan.method, self._total):
            self._check()
            settle(hosted_model(self.model), self.target, self.budget, self.latency)
        if self.steps is not None and self._done >= self.steps:
            self._check()
            self._record(self._done)
            self._leave()
            self.recipe = harden(self.model)

    def on_train_end(self, logs: Any = None) -> None:
        """Leave the loss."""
        if self._session is not None:
            self._check()
            self._record(self._done)
            self._leave()

    def costs(self) -> dict[str, float] | None:
        """What the choice of the moment costs of every limited resource; None where no search is going on."""
        if self._session is None:
            return None
        plan, standing = self._session.plan, {n: group[0].standing_bits for n, group in self._session.groups.items()}
        return plan.costs_of({name: standing.get(name, slot.bits[-1]) for name, slot in plan.slots.items()})

    def _progress(self) -> Progress:
        return Progress(self._done, self._total, self._epoch_steps)

    def _check(self) -> None:
        assert self._session is not None
        found = self._session.first_bad()
        if found is None:
            return
        step, site = found
        self._leave()
        where = "in the loss itself, with every site finite" if site is None else f"first at site {site!r}"
        raise NonFiniteValues(
            f"step {step}: NaN or infinite values, {where}; lower the learning rate, or look for such values in the "
            "data"
        )

    def _renew(self) -> None:
        """A session for the phases as they are now."""
        hosted = hosted_model(self.model)
        plan = plan_of(hosted, self.target, self.budget, self.latency)
        with self.model.distribute_strategy.scope():
            self._session = SearchSession(hosted, plan)
            self._session.prepare(self._progress())
        forget_functions(self.model)

    def _begin(self, waiting: list[Hosted]) -> None:
        try:
            begin(waiting)
        except MPQError:
            self._leave()
            raise

    def _leave(self) -> None:
        self._session = None
        _leave_loss(self.model, self._loss)
        forget_functions(self.model)

    def _record(self, step: int) -> None:
        assert self._session is not None
        if self.history.records and self.history.last.step == step:
            return
        self.history.add(self._session.record(step))
        limits = limits_of(self.budget)
        warn(notice_on_the_way(self._session.plan.method, limits, self.history.records, self._total))
        if self._writer is not None:
            log_record(self.history.last, self._writer)


def _build_optimizer(model: Any) -> None:
    """Create the variables that Keras would create within the first step, which it then traces twice."""
    build = getattr(model.optimizer, "build", None)  # optimizers of Keras' older kind have none
    if build is not None:
        with model.distribute_strategy.scope():
            build(model.trainable_variables)


def _join_loss(model: Any, term: Any) -> Any:
    """Add a term to the model's loss; returns what ``_leave_loss`` takes."""
    model.add_loss(term)
    return model._callable_losses[-1]


def _leave_loss(model: Any, joined: Any) -> None:
    model._callable_losses = [loss for loss in model._callable_losses if loss is not joined]


class _Scalars:
    """tf.summary with the interface that the history writes to; needs no TensorBoard, which tf.summary.scalar does."""

    def __init__(self, log_dir: str) -> None:
        self._writer = tf.summary.create_file_writer(log_dir)
        kind = tf.compat.v1.SummaryMetadata
        self._metadata = kind(plugin_data=kind.PluginData(plugin_name="scalars"))

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Write one number."""
        with self._writer.as_default():
            tf.summary.write(tag, tf.constant(scalar_value, tf.float32), step=global_step, metadata=self._metadata)
        self._writer.flush()

"""KeepBest: the best epoch of a search within its budget, brought back when ``fit`` ends."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from mpq_plugins.costs.budget import limits_of
from mpq_plugins.errors import MPQError
from mpq_plugins.training.best import BestWithinBudget
from mpq_tfmot.keras import keras
from mpq_tfmot.training.search_callback import SearchCallback


class KeepBest(keras.callbacks.Callback):  # type: ignore[misc]
    """To stand behind the SearchCallback: ``callbacks=[search, KeepBest(search)]``.

    monitor: of the logs of an epoch, higher is better. both: HMQ's rule, accuracy and compression must both improve
    (mpq_plugins.training.best). All that a search knows lies in the model's variables, which are kept in memory.
    """

    def __init__(self, search: SearchCallback, monitor: str = "val_accuracy", both: bool = False) -> None:
        super().__init__()
        self.search, self.monitor = search, monitor
        self.best: BestWithinBudget[list[NDArray[Any]]] = BestWithinBudget(both)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the model, if it is within the budget and better than what is kept."""
        if self.monitor not in (logs or {}):
            raise MPQError(f"an epoch has no {self.monitor!r}, it has {', '.join(logs or {})}; name one with monitor=")
        limits = limits_of(self.search.budget)
        costs = self.search.costs()
        if costs is not None:
            self.best.offer(float(logs[self.monitor]), costs, limits, self.model.get_weights)

    def on_train_end(self, logs: Any = None) -> None:
        """Bring the best epoch back, if there was one and the model has the same variables still."""
        if self.best.state is not None and len(self.best.state) == len(self.model.get_weights()):
            self.model.set_weights(self.best.state)

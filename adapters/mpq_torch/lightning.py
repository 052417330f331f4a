"""A Lightning callback that runs a Search inside a Trainer's loop."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mpq_plugins.errors import MPQError, PluginError
from mpq_torch.training.search import Search

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback  # type: ignore[assignment]  # the same class of another package
    except ImportError:
        raise PluginError("mpq_torch.lightning needs Lightning; install it with: pip install lightning") from None


class SearchCallback(Callback):
    """Adds the penalty to every loss, and moves the search on after every optimizer step.

    The module trains ``search.model`` (in its training_step and configure_optimizers); the callback
    does the rest. harden_after: optimizer steps after which bits and thresholds are fixed, by default
    those of the search. The search travels in the Trainer's checkpoints. Manual optimization is refused.

        trainer = Trainer(callbacks=[SearchCallback(search)])
    """

    def __init__(self, search: Search, harden_after: int | None = None) -> None:
        self.search = search
        self.harden_after = search.steps if harden_after is None else harden_after
        self._steps_seen = 0

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Refuse what cannot work."""
        if not pl_module.automatic_optimization:
            raise MPQError(
                "SearchCallback needs automatic optimization; in a manual loop add search.penalty() to the loss and "
                "call search.step() after the optimizer's"
            )
        self._steps_seen = trainer.global_step

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Tensor) -> None:
        """Back-propagate the penalty; its gradients add to those of the loss."""
        penalty = self.search.penalty()
        if penalty.requires_grad:
            # the loss goes through the same layers afterwards
            (penalty / trainer.accumulate_grad_batches).backward(retain_graph=True)
        pl_module.log("mpq_penalty", penalty.detach(), on_step=True, on_epoch=False)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        """Follow the schedule once the optimizer has stepped, and harden when it is time."""
        if trainer.global_step == self._steps_seen:
            return
        self._steps_seen = trainer.global_step
        self.search.step()
        if self.search.steps_done >= self.harden_after:
            self.search.harden()

    def state_dict(self) -> dict[str, Any]:
        """The search's, for the Trainer's checkpoints."""
        return self.search.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.search.load_state_dict(state_dict)

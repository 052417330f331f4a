"""What a search asks of a checkpoint before it goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpq_plugins.errors import MPQError
from mpq_plugins.training.method import TrainingMethod
from mpq_torch.training.bank_state import WITHOUT_BANKS
from mpq_torch.training.graph import PREPARATION


def check_checkpoint(state: Mapping[str, Any], method: TrainingMethod) -> None:
    """Raise MPQError where it is of another method, of a version without banks, or of no search."""
    missing = {"method", "steps_done", "model"} - set(state)
    if missing:
        raise MPQError(f"this is no checkpoint of a search: it has no {', '.join(sorted(missing))}")
    if state["method"] != method.name:
        raise MPQError(
            f"the checkpoint is of method {state['method']!r}, and this search trains with {method.name!r}; "
            "build the search with the checkpoint's method"
        )
    if not any(name.startswith(f"{PREPARATION}.") for name in state["model"]):
        raise MPQError(WITHOUT_BANKS)

"""What a checkpoint of a training has to have in common with what goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpq_plugins.errors import MPQError
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import TrainingMethod

WITHOUT_BANKS = (
    "this checkpoint keeps every site's grid by itself, as versions before banks of grids did; train again, or harden "
    "it with the version that wrote it and start from its recipe"
)


def described(method: TrainingMethod, bank: Bank) -> dict[str, Any]:
    """What another bank must have in common with this one to take over its state."""
    sites = [[slot.name, list(slot.shape), slot.signed] for slot in bank.slots]
    return {"method": method.name, "bits": list(bank.bits), "sites": sites}


def check_same(found: Mapping[str, Any], method: TrainingMethod, bank: Bank) -> None:
    """Raise MPQError, naming what differs, where a checkpoint is of another method, of other groups, or of none.

    found: what ``described`` gave.
    """
    if "sites" not in found:
        raise MPQError(WITHOUT_BANKS)
    mine, first = described(method, bank), bank.slots[0].name
    if found["method"] != mine["method"]:
        raise MPQError(
            f"site {first!r}: the checkpoint is of method {found['method']!r}, and this model trains "
            f"with {mine['method']!r}; build the search with the checkpoint's method"
        )
    for what in ("bits", "sites"):
        if found[what] != mine[what]:
            raise MPQError(
                f"site {first!r}: the checkpoint has the {what} {found[what]}, and this model {mine[what]}; "
                "build the search with the same candidates and the same model"
            )


def check_search(state: Mapping[str, Any], method: TrainingMethod) -> None:
    """Raise MPQError for the state of another method than this search's, and for what is no search's state."""
    missing = {"method", "steps_done", "model"} - set(state)
    if missing:
        raise MPQError(f"this is no checkpoint of a search: it has no {', '.join(sorted(missing))}")
    if state["method"] != method.name:
        raise MPQError(
            f"the checkpoint is of method {state['method']!r}, and this search trains with {method.name!r}; "
            "build the search with the checkpoint's method"
        )

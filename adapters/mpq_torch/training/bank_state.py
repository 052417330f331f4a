"""What a checkpoint says of a bank beside its tensors: method, groups, fixed grids and the step of the noise."""

from __future__ import annotations

import json
from typing import Any, Protocol

import torch
from torch import Tensor

from mpq_plugins.errors import MPQError
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import TrainingMethod

WITHOUT_BANKS = (
    "this checkpoint keeps every site's grid by itself, as versions before banks of grids did; train again, or harden "
    "it with the version that wrote it and start from its recipe"
)


class HasBank(Protocol):
    """A module that trains a bank with a method."""

    method: TrainingMethod
    plain: Bank


def described(module: HasBank) -> dict[str, Any]:
    """What another module must have in common with this one to take over its state."""
    return {
        "method": module.method.name,
        "bits": list(module.plain.bits),
        "sites": [[slot.name, list(slot.shape), slot.signed] for slot in module.plain.slots],
    }


def written(values: dict[str, Any]) -> Tensor:
    """The bytes of a JSON text, uint8 [bytes]."""
    return torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8).clone()


def read(state: Tensor) -> dict[str, Any]:
    """What ``written`` was given. Raises MPQError for the state of a version without banks."""
    found: dict[str, Any] = json.loads(bytes(state.to("cpu", torch.uint8).tolist()))
    if "sites" not in found:
        raise MPQError(WITHOUT_BANKS)
    return found


def check_same(found: dict[str, Any], module: HasBank) -> None:
    """Raise MPQError, naming what differs, where a checkpoint is of another method or of other groups."""
    mine, first = described(module), module.plain.slots[0].name
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

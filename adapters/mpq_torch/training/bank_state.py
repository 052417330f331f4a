"""What a checkpoint says of a bank beside its tensors, as a tensor: the bytes of a JSON text."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor


def written(values: dict[str, Any]) -> Tensor:
    """The bytes of a JSON text, uint8 [bytes]."""
    return torch.frombuffer(bytearray(json.dumps(values).encode()), dtype=torch.uint8).clone()


def read(state: Tensor) -> dict[str, Any]:
    """What ``written`` was given."""
    found: dict[str, Any] = json.loads(bytes(state.to("cpu", torch.uint8).tolist()))
    return found

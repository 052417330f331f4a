"""What the torch spellings of a record stand for."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


def spelled(name: str) -> Callable[..., Any] | type[nn.Module] | str | None:
    """ "nn.X", "F.x", "torch.x", "operator.x", or ".x" for a method; None for what this torch does not have."""
    room, _, own = name.rpartition(".")
    rooms = {"nn": nn, "F": F, "torch": torch, "operator": operator}
    return own if not room else getattr(rooms[room], own, None)

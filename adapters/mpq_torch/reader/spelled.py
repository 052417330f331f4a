"""What the torch spellings of records stand for: torch's own functions and modules, and those of other packages."""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.graph.ops import spelled as spellings
from mpq_plugins.registry import once_known

ROOMS: Mapping[str, Any] = {"nn": nn, "F": F, "torch": torch, "operator": operator}
"""What the first part of a spelling means; any other is that of a package."""
OPS = "torch.ops."


def spelled(name: str) -> Callable[..., Any] | type[nn.Module] | str | None:
    """ "nn.X", "F.x", "torch.x", "operator.x", ".x" for a method, or the path of a package's function or module.

    None for what is not there: this torch does not have it, or the package is not installed.
    """
    room, _, own = name.rpartition(".")
    if not room:
        return own
    if room in ROOMS:
        return getattr(ROOMS[room], own, None)
    try:
        if name.startswith(OPS):
            operators: Any = torch.ops
            found: Callable[..., Any] = functools.reduce(getattr, name.removeprefix(OPS).split("."), operators)
            return found
        return getattr(importlib.import_module(room), own, None)
    except (ImportError, AttributeError):
        return None


def called_as(name: str) -> tuple[Any, ...]:
    """What a call of a spelling has as its function, module or method in a traced graph; none where it is not there."""
    found = spelled(name)
    overload = getattr(found, "default", None) if isinstance(found, torch._ops.OpOverloadPacket) else None
    return tuple(target for target in (found, overload) if target is not None)


def of_package(name: str) -> bool:
    """Whether a spelling is that of another package than torch.

    >>> of_package("acme.layers.Swoosh"), of_package("torch.ops.acme.swoosh"), of_package("F.gelu")
    (True, True, False)
    """
    return name.rpartition(".")[0] not in (*ROOMS, "")


@once_known
def packages_own() -> dict[str, Any]:
    """The functions and modules of other packages that a record spells, by spelling."""
    found = {name: spelled(name) for name in spellings("torch") if of_package(name)}
    return {name: value for name, value in found.items() if value is not None}


@once_known
def packages_modules() -> tuple[type[nn.Module], ...]:
    """The classes of modules among them."""
    return tuple(found for found in packages_own().values() if isinstance(found, type))


@once_known
def packages_functions() -> tuple[Callable[..., Any], ...]:
    """The functions among them that are written in Python, into which torch.fx would look."""
    return tuple(f for f in packages_own().values() if hasattr(f, "__code__"))

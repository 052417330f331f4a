"""Functions that a copied model holds (hooks, a forward set from outside) work on the copy, as they did on the model.

copy.deepcopy takes a function for a value. What it closes over would still be the model that was copied, in which a
hook would record what the copy's forward() looks for in vain, or finds as an earlier call has left it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any

from torch import nn


def take_functions_along(own: nn.Module, copies: Mapping[int, Any]) -> None:
    """Let hooks and other functions in a copied model read and write what was copied with it.

    copies: by the id of what they are copies of, as copy.deepcopy remembers them.
    """
    for module in own.modules():
        tables: list[dict[Any, Any]] = [module.__dict__, module._forward_hooks, module._forward_pre_hooks]
        for held in tables:
            for name, value in list(held.items()):
                if isinstance(value, types.FunctionType):
                    held[name] = _taken_along(value, copies, {})


def _taken_along(function: types.FunctionType, copies: Mapping[int, Any], done: dict[int, Any]) -> types.FunctionType:
    """The function, or one like it that reads copies. done: functions that are being looked into, by id."""
    if id(function) in done:
        return function
    done[id(function)] = function

    def copied(value: Any) -> Any:
        if isinstance(value, types.FunctionType):
            return _taken_along(value, copies, done)
        return copies.get(id(value), value)

    cells = function.__closure__ or ()
    full = [cell for cell in cells if _content(cell) is not None]
    closure = tuple(types.CellType(copied(_content(cell))) if cell in full else cell for cell in cells)
    defaults = tuple(map(copied, function.__defaults__ or ()))
    read = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    read = {name: copies[id(value)] for name, value in read.items() if id(value) in copies}
    changed = [_content(a) is not _content(b) for a, b in zip(cells, closure, strict=True)]
    changed += [a is not b for a, b in zip(function.__defaults__ or (), defaults, strict=True)]
    if not read and not any(changed):
        return function
    space = {**function.__globals__, **read} if read else function.__globals__
    made = types.FunctionType(function.__code__, space, function.__name__, defaults or None, closure or None)
    made.__kwdefaults__, made.__qualname__ = function.__kwdefaults__, function.__qualname__
    made.__dict__.update(function.__dict__)
    return made


def _content(cell: types.CellType) -> Any:
    """What a cell holds; None for an empty one."""
    try:
        return cell.cell_contents
    except ValueError:
        return None

"""Forward hooks: those that only look on are taken off a copy, those that change something become part of the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mpq_plugins.errors import ModelError
from mpq_torch.calling.arguments import called

Table = dict[int, Callable[..., Any]]


def keep_changing_hooks(model: nn.Module, example: Sequence[Any]) -> None:
    """Take all forward hooks off that return nothing and write into no tensor when the model runs on the example.

    In place. Raises ModelError for one on the model itself that returns
    something: there is no call of the model to which it could belong.
    """
    hooks = [(table, key) for module in model.modules() for table in _tables(module) for key in table]
    if not hooks:
        return
    changing = _changing(model, hooks, example)
    for table, key in hooks:
        if (id(table), key) not in changing:
            del table[key]
    left = [_name(hook) for table in _tables(model) for hook in table.values()]
    if left:
        raise ModelError(
            f"the model has a forward hook of its own that changes what goes in or comes out ({', '.join(left)}); "
            "compute that in forward(), or put the hook on a module inside"
        )


def take_off(module: nn.Module) -> None:
    """Take all forward hooks off a module."""
    for table in _tables(module):
        table.clear()


def is_hooked(module: nn.Module) -> bool:
    """Whether the module has a forward hook or pre-hook."""
    return any(_tables(module))


def _tables(module: nn.Module) -> tuple[Any, Any]:
    return module._forward_pre_hooks, module._forward_hooks


def _changing(model: nn.Module, hooks: Sequence[tuple[Table, int]], example: Sequence[Any]) -> set[tuple[int, int]]:
    """Those that return or overwrite something. All of them where the example does not go through the model."""
    found: set[tuple[int, int]] = set()
    own = [(table, key, table[key]) for table, key in hooks]

    def watched(table: Table, key: int, hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            before = _versions((args, kwargs))
            result = hook(*args, **kwargs)
            if result is not None or _versions((args, kwargs)) != before:
                found.add((id(table), key))
            return result

        return call

    try:
        for table, key, hook in own:
            table[key] = watched(table, key, hook)
        with torch.no_grad():
            called(model, example)
    except Exception:  # reading the model says what is wrong with it or with the example
        return {(id(table), key) for table, key in hooks}
    finally:
        for table, key, hook in own:
            table[key] = hook
    return found


def _versions(value: Any) -> list[int]:
    """How often each tensor was written into. (The module among a hook's arguments is none.)"""
    return [leaf._version for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor) and not leaf.is_inference()]


def _name(hook: Callable[..., Any]) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)

"""Forward hooks: those that only look on are taken off a copy, those that change something become part of the graph.

So do those that record what forward() then reads, as a backbone that collects the outputs of its stages does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from mpq_plugins.errors import ModelError
from mpq_torch.calling.arguments import called, rebuilt
from mpq_torch.reader.returned import differ, tensors_of

Table = dict[int, Callable[..., Any]]
Place = tuple[Table, int]


def keep_changing_hooks(model: nn.Module, example: Sequence[Any]) -> None:
    """Take all forward hooks off that the model does not need: what it returns for the example is the same without.

    In place. A hook that returns something or writes into a tensor is needed, and one that records what forward()
    reads. Raises ModelError for one on the model itself that returns
    something: there is no call of the model to which it could belong.
    """
    hooks = [(table, key) for module in model.modules() for table in _tables(module) for key in table]
    if not hooks:
        return
    changing = _changing(model, hooks, example)
    _take_off_unread(model, [(table, key) for table, key in hooks if (id(table), key) not in changing], example)
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


def _take_off_unread(model: nn.Module, hooks: Sequence[Place], example: Sequence[Any]) -> None:
    """Take hooks off that return nothing, but those whose function records what the model returns or computes with."""
    if not hooks:
        return
    functions: dict[Any, list[Place]] = {None: list(hooks)}
    if _needs(model, hooks, example):
        functions = {}
        for table, key in hooks:
            functions.setdefault(_function(table[key]), []).append((table, key))
    for places in functions.values():
        if None in functions or not _needs(model, places, example):
            for table, key in places:
                del table[key]


def _function(hook: Callable[..., Any]) -> Any:
    """What hooks have in common that are made in one place."""
    return getattr(hook, "__code__", type(hook))


def _needs(model: nn.Module, hooks: Sequence[Place], example: Sequence[Any]) -> bool:
    """Whether the model returns something else, or nothing, without these hooks, which are put back where they were.

    On other numbers than those that the hooks have recorded last.
    """
    before = {id(table): (table, dict(table)) for table, _ in hooks}
    other = [rebuilt(argument, _other) for argument in example]
    try:
        wanted = _returned(model, other)
        _returned(model, example)
    except Exception:  # other numbers are refused
        other, wanted = list(example), _returned(model, example)
    try:
        for table, key in hooks:
            del table[key]
        found = _returned(model, other)
    except Exception:  # it looks for what they have recorded
        return True
    finally:
        for table, held in before.values():
            table.clear()
            table.update(held)
    return len(found) != len(wanted) or any(map(differ, found, wanted))


def _returned(model: nn.Module, example: Sequence[Any]) -> list[Tensor]:
    """The tensors that a model returns, as they are now."""
    with torch.no_grad():
        return [tensor.clone() for tensor in tensors_of(called(model, example))]


def _other(value: Any) -> Any:
    """Another tensor of the same shape and type, with numbers that the model takes, too."""
    if not isinstance(value, Tensor) or not value.dim():
        return value
    return value.flip(-1) if not value.is_floating_point() else 0.5 * value.flip(-1) + 0.25


def _changing(model: nn.Module, hooks: Sequence[Place], example: Sequence[Any]) -> set[tuple[int, int]]:
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

"""How a model is called: its arguments in a row, and which of them are given by name only."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from mpq_plugins.errors import ModelError
from mpq_torch.calling.own_copy import unwrapped

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True)
class Takes:
    """The arguments of a model, keyword-only ones last, in the order in which a batch holds them.

    positional: those that may be given by position. named: those that have to be given by name. defaults: by name.
    rest: the name of ``*args``, which takes any number more by position; "" for none.
    device: where the model is, and a batch is to be; None where it is in several places, or holds nothing.
    """

    positional: tuple[str, ...]
    named: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    rest: str = ""
    device: torch.device | None = field(default=None, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all arguments but those of ``*args``."""
        return (*self.positional, *self.named)

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments without a default."""
        return tuple(name for name in self.names if name not in self.defaults)

    def names_of(self, count: int) -> list[str]:
        """What the first ``count`` arguments of a batch are called."""
        if not self.rest:
            return list(self.names[:count])
        more = (f"{self.rest}_{index}" for index in range(count - len(self.positional)))
        return [*self.positional, *more][:count]

    def in_graphs(self, names: Iterable[str]) -> dict[str, tuple[Any, ...]]:
        """The default of each argument in a graph, () for none; behind one with a default Python wants others too."""
        found: dict[str, tuple[Any, ...]] = {}
        for name in names:
            optional = name in self.defaults or any(found.values())
            found[name] = (self.defaults.get(name),) if optional else ()
        return found

    def split(self, batch: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A batch as the arguments and the keywords of a call."""
        if self.rest:
            return tuple(batch), {}
        by_position = len(self.positional)
        return tuple(batch[:by_position]), dict(zip(self.named, batch[by_position:], strict=False))

    def in_order(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """Arguments by name as a batch, up to the last that is given; in front of it, missing ones at their defaults.

        Raises ModelError for arguments that are missing.
        """
        missing = [name for name in self.required if name not in given]
        if missing:
            raise ModelError(f"the model needs the arguments {', '.join(missing)} too; given are {', '.join(given)}")
        count = max((index + 1 for index, name in enumerate(self.names) if name in given), default=0)
        return tuple(given[name] if name in given else self.defaults[name] for name in self.names[:count])


def takes_of(model: nn.Module) -> Takes:
    """What the forward of a model takes (``**kwargs`` nothing). Raises ModelError for what is no module."""
    model = unwrapped(model)
    own = getattr(model, "takes", None)
    if isinstance(own, Takes):
        return own
    if type(model).forward is nn.Module.forward and "forward" not in vars(model):
        raise ModelError(
            f"a {type(model).__name__} has no forward() of its own; pass the module that calls what it holds "
            "(an nn.Sequential calls it in turn)"
        )
    positional: list[str] = []
    named: list[str] = []
    defaults, rest = {}, ""
    for parameter in inspect.signature(model.forward).parameters.values():
        if parameter.kind in _BY_POSITION:
            positional.append(parameter.name)
        elif parameter.kind == inspect.Parameter.KEYWORD_ONLY:
            named.append(parameter.name)
        elif parameter.kind == inspect.Parameter.VAR_POSITIONAL:
            rest = parameter.name
        if parameter.default is not inspect.Parameter.empty:
            defaults[parameter.name] = parameter.default
    return Takes(tuple(positional), tuple(named), defaults, rest, device_of(model))


def device_of(model: nn.Module) -> torch.device | None:
    """Where all parameters and buffers of a model are; None for several places, and where there are none."""
    found = {tensor.device for tensor in itertools.chain(model.parameters(), model.buffers())}
    return found.pop() if len(found) == 1 else None


def called(model: nn.Module, batch: Sequence[Any]) -> Any:
    """What a model returns for a batch."""
    args, kwargs = takes_of(model).split(batch)
    return model(*args, **kwargs)


def leaves_of(value: Any, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Tensors and plain values in dicts, lists and tuples, each with the keys that lead to it."""
    for key, part in parts_of(value):
        yield from leaves_of(part, (*keys, key))
    if not is_container(value):
        yield keys, value


def is_container(value: Any) -> bool:
    """Whether a value is a dict, list or tuple, whose parts are arguments of their own."""
    return isinstance(value, (dict, list, tuple))


def parts_of(value: Any) -> Iterator[tuple[str | int, Any]]:
    """The parts of a dict, list or tuple by their keys."""
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)


def rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same dicts, lists and tuples around changed leaves."""
    if isinstance(value, dict):
        return {key: rebuilt(part, change) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return rebuilt_row(value, (rebuilt(part, change) for part in value))
    return change(value)


def rebuilt_row(row: Any, parts: Iterable[Any]) -> Any:
    """A list, tuple or named tuple like another one, of other parts."""
    return type(row)(*parts) if hasattr(row, "_fields") else type(row)(parts)


def flat(batch: Sequence[Any]) -> tuple[Any, ...]:
    """The tensors and plain values of a batch in a row."""
    return tuple(leaf for _, leaf in leaves_of(tuple(batch)))


def open_batch(value: Any) -> dict[int, Any] | None:
    """torch.export's word for a tensor whose first axis may have any size; None for what has no axis."""
    return {0: torch.export.Dim.AUTO} if isinstance(value, Tensor) and value.dim() else None

"""Defaults of a model's arguments, which torch.export makes arguments that have to be given."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx

from mpq_torch.calling.arguments import Takes


def keep_defaults(converted: fx.GraphModule, takes: Takes) -> fx.GraphModule:
    """Let calls of an exported graph leave out what they may with the model that it was. takes: of that model."""
    names = tuple(inspect.signature(converted.forward).parameters)
    defaults = {name: takes.defaults[name] for name in names if name in takes.defaults}
    if defaults:
        converted.register_forward_pre_hook(_LeftOut(names, defaults), prepend=True, with_kwargs=True)
    return converted


@dataclass(frozen=True)
class _LeftOut:
    """Gives arguments that a call leaves out their defaults. names: of all arguments, in their order."""

    names: tuple[str, ...]
    defaults: Mapping[str, Any]

    def __call__(self, module: fx.GraphModule, args: Any, kwargs: Any) -> tuple[Any, Any]:
        missing = [name for name in self.names[len(args) :] if name in self.defaults and name not in kwargs]
        return args, {**kwargs, **{name: self.defaults[name] for name in missing}}

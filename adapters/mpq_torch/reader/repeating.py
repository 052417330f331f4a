"""Where in the user's code a model starts to compute something else when it is called again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from mpq_torch.calling.arguments import called
from mpq_torch.calling.own_copy import copied
from mpq_torch.reader.returned import differ, tensors_of
from mpq_torch.reader.user_code import NOT_THE_USERS, line_of

RANDOM = "it draws random numbers"
KEEPS = (
    "it keeps something of earlier calls (a list that grows in forward(), a counter), or draws numbers that torch does "
    "not know of"
)
_ATEN = torch.ops.aten
_EMPTY = (_ATEN.empty, _ATEN.empty_like, _ATEN.new_empty, _ATEN.empty_strided, _ATEN.new_empty_strided)
"""Their values are whatever the memory held."""


def changes_at(model: nn.Module, batch: Sequence[Any]) -> str:
    """What two calls of a copy of a model on the same batch compute differently, and at which line of the user's."""
    own = copied(model).eval()
    first, second = _steps(own, batch), _steps(own, batch)
    for one, other in zip_longest(first, second):
        step = other or one
        if one is None or other is None or one.differs(other):
            why = RANDOM if step.random else KEEPS
            return f"{why}; the first that differs is at {step.line}" if step.line else why
    return f"{RANDOM}, or {KEEPS}"


@dataclass(frozen=True)
class _Step:
    """An op of torch's that ran. line: of the user's, in words. random: whether it draws numbers."""

    op: Any
    line: str
    random: bool
    values: list[Tensor]

    def differs(self, other: _Step) -> bool:
        """Whether another op was called, or its values are others."""
        if self.op is not other.op or len(self.values) != len(other.values):
            return True
        return any(a.shape != b.shape or differ(a, b) for a, b in zip(self.values, other.values, strict=True))


@dataclass
class _Steps(TorchDispatchMode):
    found: list[_Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # as torch has it

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        made = [] if func.overloadpacket in _EMPTY else tensors_of(result)
        values = [value.clone() for value in made]
        self.found.append(_Step(func, _line(), torch.Tag.nondeterministic_seeded in func.tags, values))
        return result


def _steps(model: nn.Module, batch: Sequence[Any]) -> list[_Step]:
    steps = _Steps()
    with torch.no_grad(), steps:
        called(model, batch)
    return steps.found


def _line() -> str:
    """The innermost line of the user's that runs now, within the call of the model."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code is not called.__code__:
        if not frame.f_code.co_filename.startswith(NOT_THE_USERS):
            return line_of(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""

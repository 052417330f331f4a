"""What stops a reader, in words of the user's own code."""

from __future__ import annotations

import linecache
import os
from types import TracebackType

import torch
from torch import nn

from mpq_plugins.errors import ModelError

NOT_THE_USERS = tuple(os.path.dirname(path) + os.sep for path in (torch.__file__, __file__))
WAY_OUT = (
    "Control flow that depends on tensor values has to move into a function marked with torch.fx.wrap, or out of the "
    "model"
)
_BY_DATA = ("DataDependent", "data-dependent", "Tensor.item()", "aten._local_scalar_dense")
_READS = "needs the data of a tensor"


class NotTraced(ModelError):
    """A model that one of torch's tracers cannot follow. reason: where it stops, and why."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def not_traced(model: nn.Module, tracer: str, error: BaseException) -> NotTraced:
    """What a tracer raised, as an error that says at which line of the user's it was."""
    where = "" if isinstance(error, ModelError) else _where(error)
    if isinstance(error, KeyError):
        reason = f"{f' at {where}' if where else ''}: there is no {error}"
        return NotTraced(f"{type(model).__name__} does not run{reason}; let each batch hold what it asks for", reason)
    what = _said(error)
    reason = f" at {where}: {what}" if where else f": {what}"
    return NotTraced(f"{tracer} cannot trace {type(model).__name__}{reason}. {WAY_OUT}", reason)


def neither(model: nn.Module, first: NotTraced, second: NotTraced) -> ModelError:
    """Both tracers' reasons: of torch.fx, and of torch.export."""
    return ModelError(
        f"torch.fx cannot trace {type(model).__name__}{first.reason}; and torch.export cannot{second.reason}. {WAY_OUT}"
        f"{_largest_part(model)}"
    )


def _largest_part(model: nn.Module) -> str:
    """The part to quantize as a model of its own, as a detector's backbone; "" where none has half of the weights."""
    held = {name: sum(p.numel() for p in child.parameters()) for name, child in model.named_children()}
    name = max(held, key=held.__getitem__, default="")
    if len(held) < 2 or 2 * held[name] <= sum(held.values()):
        return ""
    share = 100 * held[name] / sum(held.values())
    return (
        f". Or quantize a part of it as a model of its own, and put the result in its place: .{name} has {share:.0f} % "
        "of the weights"
    )


def _where(error: BaseException) -> str:
    """The user's line in the traceback of an error, or of the one that it came from."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        found = user_line(cause.__traceback__)
        if found:
            return found
        cause = cause.__cause__ or cause.__context__
    return ""


def _said(error: BaseException, most: int = 200) -> str:
    text = str(error)
    if not isinstance(error, ModelError) and any(word in type(error).__name__ + text for word in _BY_DATA):
        return _READS
    text = " ".join(text.split("\n\n")[0].split()).rstrip(".")
    return text if len(text) <= most or isinstance(error, ModelError) else f"{text[:most]} ..."


def user_line(traceback: TracebackType | None) -> str:
    """The last line of a traceback that is neither torch's nor ours; "" where there is none."""
    found = ""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(NOT_THE_USERS):
            found = line_of(file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def line_of(file: str, line: int) -> str:
    """A line of code in words: the file, the number, and what stands there."""
    code = linecache.getline(file, line).strip()
    return f"line {line} of {os.path.basename(file)}" + (f" ({code})" if code else "")

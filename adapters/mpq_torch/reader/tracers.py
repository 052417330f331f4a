"""Which of torch's two tracers follows a model: torch.fx, and torch.export where that cannot or gets it wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_torch.calling.arguments import called, rebuilt, takes_of
from mpq_torch.calling.own_copy import copied
from mpq_torch.reader.concrete import FORMS
from mpq_torch.reader.exporting import trace_exported
from mpq_torch.reader.returned import differ, tensors_of
from mpq_torch.reader.shapes import SIZES, Observed, at_size, observe
from mpq_torch.reader.tracing import Traced, trace
from mpq_torch.reader.user_code import NotTraced, neither

logger = logging.getLogger(__name__)

Seen = tuple[fx.GraphModule, Observed]
"""A traced model, and what it computes on the example."""


def traced_and_observed(model: nn.Module, example: Sequence[Any], unrolled: bool = False) -> Seen:
    """A model traced at a batch of two, or, where it takes the example's batch size only, at that.

    By torch.fx, and by torch.export where torch.fx stops, or where what it traced returns something else than the
    model does, as after a branch by the type of a tensor. Raises ModelError with the reasons of both.
    unrolled: as of ``attention.opened``.
    """
    takes = takes_of(model)
    missing = [name for name in takes.names[len(example) :] if name in takes.required]
    if missing:
        raise ModelError(
            f"the model takes {len(takes.names)} inputs, and the example has {len(example)}, and nothing for "
            f"{', '.join(missing)}"
        )
    by_fx = traced_by("torch.fx", model, example, unrolled)
    if not isinstance(by_fx, NotTraced) and _agrees(model, by_fx, example):
        return by_fx
    if isinstance(by_fx, NotTraced) and not _runs(model, example):
        raise NotTraced(f"{by_fx}{_way_in(model, example)}", by_fx.reason)
    by_export = traced_by("torch.export", model, example, unrolled)
    if not isinstance(by_fx, NotTraced):
        right = not isinstance(by_export, NotTraced) and _agrees(model, by_export, example)
        if right and not isinstance(by_export, NotTraced):
            logger.info("%s is read by torch.export: torch.fx gets it wrong", type(model).__name__)
            return by_export
        return by_fx
    if isinstance(by_export, NotTraced):
        raise neither(model, by_fx, by_export)
    logger.info("%s is read by torch.export: %s", type(model).__name__, by_fx)
    return by_export


def traced_by(tracer: str, model: nn.Module, example: Sequence[Any], unrolled: bool = False) -> Seen | NotTraced:
    """A model traced by "torch.fx" or by "torch.export"; else why it cannot be. unrolled: as of ``opened``."""
    few = at_size(example)
    sizes = [few] if all(a is b for a, b in zip(few, example, strict=True)) else [few, example]
    if tracer == "torch.fx":
        return _first(sizes, example, lambda samples: trace(model, samples, unrolled))
    return _first(
        sizes, example, lambda samples: trace_exported(model, samples, unrolled, any_batch=samples is not sizes[-1])
    )


def _first(
    sizes: Sequence[Sequence[Any]], example: Sequence[Any], tracer: Callable[[Sequence[Any]], Traced]
) -> Seen | NotTraced:
    """What is traced at the first size that can be; else why it cannot be at the first one."""
    reasons = []
    for samples in sizes:
        try:
            traced = tracer(samples)
        except NotTraced as error:
            reasons.append(error)
            continue
        try:
            return traced.graph, replace(observe(traced.graph, example, traced.values), decided=traced.decided)
        except ModelError as error:
            reasons.append(NotTraced(str(error), f": {error}"))
            break
    return reasons[0]


def _agrees(model: nn.Module, seen: Seen, example: Sequence[Any]) -> bool:
    """Whether the model returns what its traced graph returned when it was last run.

    One that fx.constrain wrote, whose clamps to grids the graph does not have, is taken for right.
    """
    if any(isinstance(module, FORMS) for module in model.modules()):
        return True
    given = example if seen[1].one_batch_size else at_size(example, SIZES[1])
    with torch.no_grad():
        wanted, got = tensors_of(called(copied(model).eval(), given)), tensors_of(seen[1].returned)
    return len(wanted) == len(got) and not any(differ(a, b) for a, b in zip(wanted, got, strict=True))


_CHANGES: Sequence[tuple[str, Callable[[Tensor], Tensor]]] = (
    (
        "its first axis has to be that of the samples: pass batches, as a DataLoader gives them, or x[None]",
        lambda x: x[None],
    ),
    ("the model takes floats: pass x.float()", lambda x: x.float()),
    ("images lie as (samples, channels, rows, columns): pass x.permute(0, 3, 1, 2)", lambda x: x.permute(0, 3, 1, 2)),
)
"""What people forget to do with their inputs."""


def _way_in(model: nn.Module, example: Sequence[Any]) -> str:
    """How the example would go through the model, in words; "" where it is not known."""
    takes = takes_of(model)
    if len(example) == 1 and isinstance(example[0], dict):
        return f"; a dict holds arguments by their names in forward(): {', '.join(takes.names)}"
    for words, change in _CHANGES:
        with suppress(RuntimeError):  # of another number of axes
            if _runs(model, [rebuilt(argument, partial(_changed, change)) for argument in example]):
                return f"; {words}"
    return ""


def _changed(change: Callable[[Tensor], Tensor], value: Any) -> Any:
    return change(value) if isinstance(value, Tensor) else value


def _runs(model: nn.Module, example: Sequence[Any]) -> bool:
    try:
        with torch.no_grad():
            called(copied(model).eval(), example)
    except Exception:
        return False
    return True

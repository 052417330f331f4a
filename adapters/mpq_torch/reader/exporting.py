"""Tracing a torch model with torch.export, which runs the model's own Python on tensors without data.

It follows what torch.fx cannot: lists of tensors, loops over them, lengths and types, writing into parts of tensors.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from mpq_plugins.errors import ModelError
from mpq_torch.calling.arguments import Takes, open_batch, takes_of
from mpq_torch.reader.concrete import HOOKS_SUFFIX, is_leaf
from mpq_torch.reader.exported import as_traced, without_writes
from mpq_torch.reader.hooks import take_off
from mpq_torch.reader.leaf_calls import as_leaves
from mpq_torch.reader.open_batch import opened
from mpq_torch.reader.returned import mapped, taken_apart
from mpq_torch.reader.shapes import SIZES, at_size
from mpq_torch.reader.tracing import Traced, lift_constraints, prepared
from mpq_torch.reader.user_code import not_traced

_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict)


def trace_exported(
    model: nn.Module, example: Sequence[Any], unrolled: bool = False, *, any_batch: bool = True
) -> Traced:
    """A model traced on an example by torch.export: layers as modules at their paths, functions of torch.

    unrolled: as of ``attention.opened``.
    any_batch: refuse a model that computes with the example's batch size only. The model itself is left untouched.
    Raises NotTraced where torch.export cannot follow the model, and as ``prepared`` does.
    """
    traced, fixed = _exported(prepared(model, example, unrolled), example)
    if fixed and any_batch:
        more = at_size(example, SIZES[1])
        other, _ = _exported(prepared(model, more, unrolled), more)
        if not opened(traced, other, fixed):
            raise not_traced(model, "torch.export", ModelError("it computes with one size of batch only"))
    return Traced(traced, {})


def _exported(model: nn.Module, example: Sequence[Any]) -> tuple[fx.GraphModule, str]:
    """A prepared model traced, and the name of an argument whose batch size became a number; "" where none did."""
    leaves = dict(_leaves(model))
    scopes = {path: path + HOOKS_SUFFIX for path in leaves}
    takes = takes_of(model)
    names = takes.names_of(len(example))
    try:
        with as_leaves(leaves) as calls, _returning_tensors(model, takes) as returned, torch.no_grad(), _quietly():
            axes = (tuple(pytree.tree_map(open_batch, argument) for argument in example),)
            program = torch.export.export(model, tuple(example), dynamic_shapes=axes, strict=False)
            program = without_writes(program)
        given, defaults = dict(zip(names, example, strict=True)), takes.in_graphs(names)
        graph, tensors = as_traced(program, model, given, defaults, calls, scopes)
        outputs = mapped(
            returned[0],
            lambda leaf: tensors[leaf.index] if isinstance(leaf, _Returned) else leaf,
            lambda made: graph.call_function(made.kind, made.args, dict(made.kwargs)),
        )
    except Exception as error:
        raise not_traced(model, "torch.export", error) from error
    graph.output(outputs)
    traced = fx.GraphModule(model, graph)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    for module in leaves.values():
        take_off(module)
    lift_constraints(traced)
    return traced, _fixed_argument(program, names, example)


def _fixed_argument(program: ExportedProgram, names: Sequence[str], example: Sequence[Any]) -> str:
    """The first argument that is a tensor whose first axis became a number; "" for none."""
    inputs = set(program.graph_signature.user_inputs)
    values = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    given = [name for name, argument in zip(names, example, strict=True) for _ in pytree.tree_leaves(argument)]
    tensors = [(name, value) for name, value in zip(given, values, strict=False) if isinstance(value, Tensor)]
    return next((name for name, value in tensors if value.dim() and not _is_open(value.shape[0])), "")


def _is_open(size: Any) -> bool:
    """Whether a size may be any: torch.export sees only while it traces that the model's code fixes one."""
    return isinstance(size, torch.SymInt) and size.node.maybe_as_int() is None


@dataclass(frozen=True)
class _Returned:
    """A tensor that the model returns. index: among them all."""

    index: int


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that are one call each, at their first paths."""
    seen: set[int] = set()
    inside = ""
    for path, module in model.named_modules():
        if inside and path.startswith(inside):
            continue
        if path and is_leaf(module) and not isinstance(module, _NEVER_CALLED) and id(module) not in seen:
            inside = f"{path}."
            seen.add(id(module))
            yield path, module


@contextmanager
def _returning_tensors(model: nn.Module, takes: Takes) -> Iterator[list[Any]]:
    """Let the model take its arguments in a row, and return its tensors so: what holds them is put into a list."""
    forward, structure = model.forward, list[Any]()

    def in_a_row(*args: Any) -> tuple[Any, ...]:
        tensors: list[Any] = []

        def leaf(value: Any) -> Any:
            if not isinstance(value, (Tensor, torch.SymInt)):
                return value
            tensors.append(value)
            return _Returned(len(tensors) - 1)

        given, named = takes.split(args)
        structure[:] = [taken_apart(forward(*given, **named), leaf)]
        return tuple(tensors)

    held = model.__dict__.get("forward")
    model.forward = in_a_row
    try:
        yield structure
    finally:
        del model.forward
        if held is not None:
            model.forward = held


@contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch.export says of attributes that are set, which our copy may, and what it prints of its own."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before

"""Means, sums, maxima and minima: over axes, of two activations, and of an activation and a number."""

from __future__ import annotations

import builtins
import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Batch, Shape
from mpq_plugins.graph.reducing import Reducing
from mpq_torch.calling.node_arguments import arguments_of
from mpq_torch.modules.written import Mean
from mpq_torch.reader.call import Call, Made, Rule

_MIXES_SAMPLES = "mixing the samples of a batch has no integer kernel"


def reducing(call: Call) -> tuple[Reducing, Part]:
    """The nodes of a call, and the tensor that they begin with."""
    return Reducing(call.name, "NCHW"), Part(call.inputs[0], call.in_shape)


def over_axes(reduce: Any) -> Rule:
    """A method of Reducing, over the axes that the call names."""

    def rule(call: Call) -> Made:
        given = call.argument(1, "dim")
        return _over(call, reduce, given if isinstance(given, (list, tuple)) else (given,))

    return rule


def spread(reduce: Any) -> Rule:
    """torch.var and torch.std over the axes that are named."""

    def rule(call: Call) -> Made:
        second = call.argument(1, "dim")
        if isinstance(second, bool):
            return call.unknown(_MIXES_SAMPLES)
        unbiased = call.argument(2, "unbiased", True) if len(call.node.args) > 2 else call.node.kwargs.get("unbiased")
        correction: Any = call.node.kwargs.get("correction", 1 if unbiased in (None, True) else 0)
        keepdim = bool(call.argument(3, "keepdim", False))
        dims = second if isinstance(second, (list, tuple)) else (second,)
        return _over(call, lambda made, x, axes, _: reduce(made, x, axes, keepdim, float(correction or 0)), dims)

    return rule


def vector_norm(call: Call) -> Made:
    """Norms of vectors by squares: torch.norm, Tensor.norm and torch.linalg.vector_norm."""
    power = call.argument(1, "p", call.node.kwargs.get("ord", 2))
    given = call.argument(2, "dim")
    if power not in (None, 2, 2.0, "fro"):
        return call.unknown("only norms by squares have an integer kernel")
    keepdim = bool(call.argument(3, "keepdim", False))
    dims = given if isinstance(given, (list, tuple)) else (given,)
    return _over(call, lambda made, x, axes, _: made.norm(x, axes, keepdim), dims)


def _over(call: Call, reduce: Any, dims: Any) -> Made:
    rank = len(call.in_shape)
    if not dims or any(dim is None for dim in dims):
        return call.unknown(_MIXES_SAMPLES)
    axes = {int(dim) % rank for dim in dims}
    samples = [axis for axis, size in enumerate(call.in_shape) if isinstance(size, Batch)]
    if len(samples) != 1 or samples[0] in axes:
        return call.unknown(_MIXES_SAMPLES)
    if call.node.kwargs.get("dtype") is not None:
        return call.unknown("a mean or sum in a type of its own has no integer kernel")
    made, x = reducing(call)
    keepdim = bool(call.argument(2, "keepdim", False))
    if samples == [0]:
        return made.done(reduce(made, x, axes, keepdim))
    order = (*samples, *(axis for axis in range(rank) if axis not in samples))
    found = reduce(made, made.transpose(x, order), {order.index(axis) for axis in axes}, keepdim)
    left = [axis for axis in order if keepdim or axis not in axes]
    back = sorted(range(len(left)), key=left.__getitem__)
    return made.done(found if left == sorted(left) else made.transpose(found, back))


def extreme(reduce: Any, pairwise: Any) -> Rule:
    """torch.max and torch.min: of two tensors, or over an axis, where only the values are read."""

    def rule(call: Call) -> Made:
        second = call.argument(1, "dim", call.node.kwargs.get("other"))
        if second is None:
            return call.unknown(_MIXES_SAMPLES)
        if isinstance(second, fx.Node) or not isinstance(second, int):
            return of_two(pairwise)(call)
        return [] if _values_only(call.node) else call.unknown("the places of the largest have no integer kernel")

    return rule


def _values_only(node: fx.Node) -> bool:
    """Whether of the values and the indices that a call gives only the values are read."""
    return all(
        (user.target is operator.getitem and user.args[1] == 0)
        or (user.target is builtins.getattr and user.args[1] == "values")
        for user in node.users
    )


def values_of(call: Call) -> Made | None:
    """The values of a call of torch.max or torch.min along an axis, which another call takes; None of another."""
    source = call.node.args[0]
    if not isinstance(source, fx.Node) or source.target not in EXTREMES or not _values_only(source):
        return None
    inner = Call(source, call.name, None, call.names, call.observed, call.attribute)
    return _over(inner, EXTREMES[source.target], (inner.argument(1, "dim"),))


def attribute(call: Call) -> Made:
    """``torch.max(x, dim).values``."""
    return values_of(call) or call.unknown("no integer kernel for getattr")


def of_two(pairwise: Any) -> Rule:
    """The larger or the smaller of two activations, or a clamp by a number."""

    def rule(call: Call) -> Made:
        operands = call.argument(0, "input"), call.argument(1, "other")
        constants = [call.constant(operand) for operand in operands]
        known = [isinstance(operand, fx.Node) and operand in call.names for operand in operands]
        for constant, index in zip(constants, (1, 0), strict=True):
            if constant is not None and known[index] and getattr(constant, "size", 1) == 1:
                bound = {"low" if pairwise is Reducing.larger else "high": float(constant)}
                return call.made("clamp", (call.names[operands[index]],), **bound)
        if not all(known) or all(constant is not None for constant in constants):
            return call.unknown("the larger of an activation and anything but an activation or a number has no kernel")
        rank = len(call.shape)
        parts = [
            Part(call.names[operand], call.observed.shapes[operand] if own is None else _of_one_sample(own, rank))
            for operand, own in zip(operands, constants, strict=True)
        ]
        if len({len(part.shape) for part in parts}) > 1 or len({part.shape[0] for part in parts}) > 1:
            return call.unknown("the larger of tensors of several numbers of axes has no integer kernel")
        made = Reducing(call.name, "NCHW")
        return made.done(pairwise(made, parts))

    return rule


def _of_one_sample(constant: Any, rank: int) -> Shape:
    """The shape of a constant that is the same for every sample."""
    shape = (1,) * (rank - constant.ndim) + constant.shape
    return (Batch(), *shape[1:]) if shape[0] == 1 else shape


def written_mean(call: Call) -> Made:
    """The mean of a model that was written: over the last axes, on its input's grid."""
    _, axes, keepdims = arguments_of(call.node)
    rank = len(call.in_shape)
    attrs = {"axes": tuple(sorted(int(axis) % rank for axis in axes)), "keepdims": bool(keepdims)}
    return call.made("global_avg_pool", attrs=attrs)


EXTREMES: Mapping[Any, Any] = {
    **dict.fromkeys([torch.max, "max"], Reducing.largest),
    **dict.fromkeys([torch.min, "min"], Reducing.smallest),
}
"""What gives values and their places along an axis."""
MODULES: dict[Any, Rule] = {Mean: written_mean}
FUNCTIONS: dict[Any, Rule] = {
    **dict.fromkeys([torch.mean, "mean"], over_axes(Reducing.mean)),
    **dict.fromkeys([torch.sum, "sum"], over_axes(Reducing.total)),
    **dict.fromkeys([torch.var, "var"], spread(Reducing.variance)),
    **dict.fromkeys([torch.std, "std"], spread(Reducing.deviation)),
    **dict.fromkeys([torch.norm, "norm", torch.linalg.vector_norm], vector_norm),
    **dict.fromkeys([torch.amax, "amax"], over_axes(Reducing.largest)),
    **dict.fromkeys([torch.amin, "amin"], over_axes(Reducing.smallest)),
    **dict.fromkeys([torch.max, "max"], extreme(Reducing.largest, Reducing.larger)),
    **dict.fromkeys([torch.min, "min"], extreme(Reducing.smallest, Reducing.smaller)),
    **dict.fromkeys([torch.maximum, "maximum"], of_two(Reducing.larger)),
    **dict.fromkeys([torch.minimum, "minimum"], of_two(Reducing.smaller)),
    builtins.getattr: attribute,
}

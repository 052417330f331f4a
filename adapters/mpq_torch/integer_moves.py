"""Pooling, and the ops that only move elements, as steps of an integer program."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.integers.kernels import compute
from mpq_plugins.integers.program import Tensor as ProgramTensor
from mpq_plugins.integers.steps import AveragePool, MaxPool, Move, Pair, Reshape, Sides
from mpq_torch.canonical_ops import Pad, SameGrid, Subsample
from mpq_torch.pooling_rewrites import MAX_POOLS
from mpq_torch.simulation import SimulatedAverage

_OPTIONS = {"kernel_size": None, "stride": None, "padding": 0, "dilation": 1}


def lower_pool(module: nn.Module, name: str, source: str, x: Tensor, args: Any, kwargs: Any) -> MaxPool | AveragePool:
    """The step of a max or average pooling, from its module or the arguments of its function."""
    if x.dim() not in (3, 4):
        raise UnsupportedOp(f"{name}: pooling takes [samples, channels, (rows,) columns], not {tuple(x.shape)}")
    largest, flat = not isinstance(module, SimulatedAverage), x.dim() == 3
    if isinstance(module, MAX_POOLS):
        given = {option: getattr(module, option) for option in _OPTIONS}
    else:
        options = tuple(_OPTIONS) if largest else tuple(_OPTIONS)[:3]
        given = {**_OPTIONS, **dict(zip(options, args[1:], strict=False)), **kwargs}
    kernel = pair(given["kernel_size"], 1, flat)
    stride = pair(given["stride"], 1, flat) if given["stride"] not in (None, [], ()) else kernel
    sides = symmetric(pair(given["padding"], 0, flat))
    if largest:
        return MaxPool(name, (source,), kernel, stride, sides, pair(given["dilation"], 1, flat))
    return AveragePool(name, (source,), kernel, stride, sides, True, 0, "half_even")


def lower_move(module: nn.Module, name: str, source: str, x: Tensor, args: Any, kwargs: Any) -> Move | Reshape:
    """The step of an op that only moves elements of each sample, proven on a tensor of distinct elements.

    Raises UnsupportedOp where it mixes samples, or moves elements in a way that no step has.
    """
    distinct = torch.arange(1, x.numel() + 1, dtype=torch.float64).reshape(x.shape)
    wanted = module(distinct, *args[1:], **kwargs)
    step = _guess(module, name, source, distinct, wanted)
    if step is not None and wanted.shape[0] == x.shape[0]:
        shape = tuple(wanted.shape[1:])
        output = ProgramTensor(name, shape, 32, True, 0)
        got = compute(step, [distinct.numpy().astype(np.int32)], output, {}, "channels_first")
        if np.array_equal(got, wanted.numpy()):
            return step
    raise UnsupportedOp(
        f"{name}: moves elements from {tuple(x.shape)} to {tuple(wanted.shape)} as no integer step does; reshape and "
        "permute within each sample only"
    )


def _guess(module: nn.Module, name: str, source: str, x: Tensor, wanted: Tensor) -> Move | Reshape | None:
    rank = x.dim() - 1
    order, ones, zeros = tuple(range(rank)), (1,) * rank, (0,) * rank
    if isinstance(module, Pad):
        before = list(zeros)
        for index, amount in enumerate(module.pads[::2]):
            if index >= rank:
                return None
            before[rank - 1 - index] = amount
        return Move(name, (source,), "pad", order, tuple(before), ones, ones, ones)
    if isinstance(module, Subsample):
        steps = (*ones[:-2], *module.strides)
        return Move(name, (source,), "subsample", order, zeros, steps, ones, ones)
    if isinstance(module, SameGrid) and module.function == "functional.interpolate":
        repeat = tuple(int(w) // int(n) for w, n in zip(wanted.shape[1:], x.shape[1:], strict=True))
        return Move(name, (source,), "repeat", order, zeros, ones, repeat, ones) if min(repeat) > 0 else None
    if wanted.shape[0] == x.shape[0] and torch.equal(wanted, x.reshape(wanted.shape)):
        return Reshape(name, (source,))
    for permutation in itertools.permutations(range(rank)):
        moved = x.permute(0, *(axis + 1 for axis in permutation))
        if moved.shape == wanted.shape and torch.equal(moved, wanted):
            return Move(name, (source,), "transpose", permutation, zeros, ones, ones, ones)
    return None


def sample_axis(dim: int, x: Tensor, name: str) -> int:
    """The axis of one sample that a dimension of a batch is. Raises UnsupportedOp for that of the samples."""
    axis = dim % x.dim() - 1
    if axis < 0:
        raise UnsupportedOp(f"{name}: works across the samples of a batch, and an integer program has one sample")
    return axis


def pair(value: Any, neutral: int, flat: bool = False) -> Pair:
    """Rows and columns of a size; over signals (flat) the rows are neutral."""
    values = tuple(int(v) for v in value) if isinstance(value, (tuple, list)) else (int(value),)
    if len(values) == 1:
        return (neutral, values[0]) if flat else (values[0], values[0])
    return values[0], values[1]


def symmetric(padding: Pair) -> Sides:
    """The same padding before and after."""
    return padding[0], padding[0], padding[1], padding[1]

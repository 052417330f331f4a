"""Moves that take several nodes: stacks, rolls, repeats, and channels moved into space and back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.graph.moving import Moving, Part
from mpq_plugins.graph.node import Batch
from mpq_torch.reader.call import Call, Made, Rule
from mpq_torch.reader.moving import begun

_REPEATS_SAMPLES = "repeating the samples of a batch has no integer kernel"


def stack(call: Call) -> Made:
    """torch.stack."""
    tensors = call.argument(0, "tensors")
    axis = int(call.argument(1, "dim", 0)) % len(call.shape)
    if not isinstance(tensors, (list, tuple)):
        return call.unknown("a stack needs a list of tensors")
    moving = Moving(call.name)
    parts = [Part(call.names[tensor], call.observed.shapes[tensor]) for tensor in tensors]
    return moving.done(moving.stack(parts, axis))


def roll(call: Call) -> Made:
    """torch.roll along axes that are named."""
    shifts, dims = call.argument(1, "shifts"), call.argument(2, "dims")
    if dims is None or dims == ():
        return call.unknown("a roll of all elements in one row has no integer kernel; name the axes")
    moving, x = begun(call)
    pairs = zip(_many(dims), _many(shifts), strict=True)
    found = {dim % len(x.shape): shift for dim, shift in pairs}
    if any(isinstance(x.shape[axis], Batch) for axis in found):
        return call.unknown("rolling the samples of a batch has no integer kernel")
    return moving.done(moving.roll(x, found))


def repeat(call: Call) -> Made:
    """Tensor.repeat and tile: the whole tensor so many times along each axis."""
    counts = _many(call.numbers(1, "dims" if "dims" in call.node.kwargs else "repeats"))
    rank = max(len(call.in_shape), len(counts))
    counts = [1] * (rank - len(counts)) + counts
    return _repeated(call, counts)


def expand(call: Call) -> Made:
    """Tensor.expand and broadcast_to: sizes of one as others."""
    return _repeated(call, None)


def _repeated(call: Call, counts: list[int] | None) -> Made:
    moving, x = begun(call)
    new = len(call.shape) - len(x.shape)
    if new:
        return call.unknown("repeating into a new axis before that of the samples has no integer kernel")
    times: dict[int, int] = {}
    for axis, (before, after) in enumerate(zip(x.shape, call.shape, strict=True)):
        count = counts[axis] if counts is not None else 1
        if isinstance(before, Batch) or isinstance(after, Batch):
            if before != after or count != 1:
                return call.unknown(_REPEATS_SAMPLES)
            continue
        if after // before > 1:
            times[axis] = after // before
    return moving.done(moving.repeat(x, times))


def pixel_shuffle(call: Call) -> Made:
    """nn.PixelShuffle and F.pixel_shuffle."""
    return _in_space(call, "upscale_factor", Moving.pixel_shuffle)


def pixel_unshuffle(call: Call) -> Made:
    """nn.PixelUnshuffle and F.pixel_unshuffle."""
    return _in_space(call, "downscale_factor", Moving.pixel_unshuffle)


def channel_shuffle(call: Call) -> Made:
    """nn.ChannelShuffle and F.channel_shuffle."""
    moving, x = begun(call)
    return moving.done(moving.channel_shuffle(x, _number(call, "groups")))


def _in_space(call: Call, name: str, move: Any) -> Made:
    if len(call.in_shape) != 4:
        return call.unknown("shuffling pixels of anything but images of four axes has no integer kernel")
    moving, x = begun(call)
    return moving.done(move(moving, x, _number(call, name)))


def _number(call: Call, name: str) -> int:
    return int(getattr(call.module, name) if call.module is not None else call.argument(1, name))


def _many(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]


MODULES: dict[Any, Rule] = {
    nn.PixelShuffle: pixel_shuffle,
    nn.PixelUnshuffle: pixel_unshuffle,
    nn.ChannelShuffle: channel_shuffle,
}
FUNCTIONS: dict[Any, Rule] = {
    torch.stack: stack,
    **dict.fromkeys([torch.roll, "roll"], roll),
    **dict.fromkeys([torch.tile, "repeat", "tile"], repeat),
    **dict.fromkeys([torch.broadcast_to, "expand", "broadcast_to"], expand),
    **dict.fromkeys([F.pixel_shuffle, torch.pixel_shuffle], pixel_shuffle),
    **dict.fromkeys([F.pixel_unshuffle, torch.pixel_unshuffle], pixel_unshuffle),
    **dict.fromkeys([F.channel_shuffle, torch.channel_shuffle], channel_shuffle),
}

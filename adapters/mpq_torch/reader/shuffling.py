"""Moves that take several nodes: stacks, rolls, repeats, and channels moved into space and back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.graph.composing import Composing
from mpq_plugins.graph.moving import Moving, Part, size_of
from mpq_plugins.graph.node import Batch
from mpq_torch.reader.call import Call, Made, Rule, numbers
from mpq_torch.reader.folded import OF_TWO
from mpq_torch.reader.moving import begun

EXPANDS = (torch.broadcast_to, "expand", "expand_as", "broadcast_to")
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
    """Tensor.expand and broadcast_to: sizes of one as others; nothing, where all that reads it does that itself."""
    return call.tensor() if _spread_by_readers(call) else _repeated(call, None)


def _spread_by_readers(call: Call) -> bool:
    """Whether sums and products with tensors of the whole shape alone read the call."""

    def spreads(user: fx.Node) -> bool:
        others = [node for node in user.all_input_nodes if node is not call.node]
        whole = [n for n in others if n.target not in EXPANDS and call.observed.shapes.get(n) == call.shape]
        return user.target in OF_TWO and bool(whole) and call.held(whole[0]) is None

    return len(call.in_shape) == len(call.shape) and bool(call.node.users) and all(map(spreads, call.node.users))


def repeat_interleave(call: Call) -> Made:
    """Each element of an axis so many times, a number."""
    count, dim = call.argument(1, "repeats"), call.argument(2, "dim")
    if not isinstance(count, int) or not isinstance(dim, int):
        return call.unknown("repeating elements has an integer kernel by a number, and along an axis")
    moving, x = begun(call)
    return moving.done(moving.repeat_each(x, dim % len(x.shape), count))


def unfold(call: Call) -> Made:
    """F.unfold and nn.Unfold: the elements of each window, channels first, as one axis, and the windows as another."""
    names = ("kernel_size", "dilation", "padding", "stride")
    given = [
        call.given(1 + index, name, default)
        for index, (name, default) in enumerate(zip(names, (None, 1, 0, 1), strict=True))
    ]
    if len(call.in_shape) != 4 or not isinstance(call.in_shape[0], Batch):
        return call.unknown("windows of anything but images of four axes have no integer kernel")
    kernel, dilation, padding, stride = (numbers(value, 2) for value in given)
    moving, x = begun(call)
    if any(padding):
        x = moving.pad(x, ((0, 0), (0, 0), *((side, side) for side in padding)))
    counts = [(size_of(x, 2 + axis) - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1 for axis in (0, 1)]
    taps = []
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            first = row * dilation[0], column * dilation[1]
            last = [start + (n - 1) * step + 1 for start, n, step in zip(first, counts, stride, strict=True)]
            taps.append(moving.slice(x, {2 + axis: range(first[axis], last[axis], stride[axis]) for axis in (0, 1)}))
    return moving.done(moving.reshape(moving.stack(taps, 2), call.shape))


def fold(call: Call) -> Made:
    """nn.Fold and F.fold."""
    names = ("output_size", "kernel_size", "dilation", "padding", "stride")
    if call.module is not None:
        given = [getattr(call.module, name) for name in names]
    else:
        plain = (None, None, 1, 0, 1)
        given = [call.argument(1 + index, n, p) for index, (n, p) in enumerate(zip(names, plain, strict=True))]
    out, kernel, dilation, padding, stride = (numbers(value, 2) for value in given)
    if len(call.in_shape) != 3 or not isinstance(call.in_shape[0], Batch):
        return call.unknown("windows of samples without a batch have no integer kernel")
    geometry = {"stride": stride, "padding": tuple((n, n) for n in padding), "dilation": dilation}
    made = Composing(call.name, "NCHW")
    return made.done(made.together(Part(call.inputs[0], call.in_shape), kernel, out, geometry))


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


def windows(call: Call) -> Made:
    """Tensor.unfold: the windows along an axis, and their elements as a last axis."""
    dim, size, step = (call.argument(1 + index, name) for index, name in enumerate(("dimension", "size", "step")))
    moving, x = begun(call)
    axis = int(dim) % len(x.shape)
    if isinstance(x.shape[axis], Batch):
        return call.unknown("windows along the samples of a batch have no integer kernel")
    count = (size_of(x, axis) - size) // step + 1
    taps = [moving.slice(x, {axis: range(at, at + (count - 1) * step + 1, step)}) for at in range(size)]
    return moving.done(moving.stack(taps, len(x.shape)))


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
    return int(call.given(1, name))


def _many(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]


MODULES: dict[Any, Rule] = {
    nn.PixelShuffle: pixel_shuffle,
    nn.PixelUnshuffle: pixel_unshuffle,
    nn.ChannelShuffle: channel_shuffle,
    nn.Unfold: unfold,
    nn.Fold: fold,
}
FUNCTIONS: dict[Any, Rule] = {
    torch.stack: stack,
    **dict.fromkeys([torch.roll, "roll"], roll),
    **dict.fromkeys([torch.tile, "repeat", "tile"], repeat),
    **dict.fromkeys(EXPANDS, expand),
    **dict.fromkeys([torch.repeat_interleave, "repeat_interleave"], repeat_interleave),
    F.unfold: unfold,
    F.fold: fold,
    "unfold": windows,
    **dict.fromkeys([F.pixel_shuffle, torch.pixel_shuffle], pixel_shuffle),
    **dict.fromkeys([F.pixel_unshuffle, torch.pixel_unshuffle], pixel_unshuffle),
    **dict.fromkeys([F.channel_shuffle, torch.channel_shuffle], channel_shuffle),
}

"""What moves elements in Keras and TensorFlow, by layers and by functions, in nodes of a graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.composing import Composing
from mpq_plugins.graph.moving import Moving, Part, for_every_axis, size_of
from mpq_plugins.graph.node import Batch, Node, Shape
from mpq_plugins.graph.off_grids import APART
from mpq_plugins.graph.volumes import Volumes, windows_of
from mpq_plugins.graph.windows import same_padding
from mpq_tfmot.reader import rectifying, reducing, resizing
from mpq_tfmot.reader.record import is_symbol

Move = Callable[[Any, list[Part], Mapping[str, Any], Shape], "Part | None"]
"""moving, what is read, arguments by name, shape of the output -> the output; None for what no record describes."""


def called(name: str, parts: list[Part], symbol: str, node: Any, shape: Shape, index: int | None) -> list[Node] | None:
    """The nodes of a function called on Keras tensors; None where none describe it. index: of several outputs."""
    move = FUNCTIONS.get(symbol.removeprefix("compat.v1."))
    if move is None:
        return None
    function: Callable[..., Any] = node.layer.function
    bound = inspect.signature(function).bind(*node.call_args, **node.call_kwargs)
    bound.apply_defaults()
    return moved(name, parts, move, {**bound.arguments, "index": index}, shape)


def moved(name: str, parts: list[Part], move: Move, given: Mapping[str, Any], shape: Shape) -> list[Node] | None:
    """The nodes of a move; None where samples of a batch would be moved or no record describes it."""
    moving = Volumes(name, "NHWC")
    try:
        found = move(moving, parts, given, shape)
    except (AssertionError, TypeError, KeyError, ValueError):
        return None
    if found is None:
        return None
    if None in shape:  # Keras does not know what computed sizes come to
        shape = found.shape
    if found == parts[0] and found.shape == shape:
        return []
    return moving.done(found if found.shape == shape else moving.reshape(found, shape))


def crop(moving: Moving, parts: list[Part], layer: Any, shape: Shape) -> Part:
    """Cropping1D and Cropping2D."""
    (x,) = parts
    sides = layer.cropping if isinstance(layer.cropping[0], (tuple, list)) else (layer.cropping,)
    sizes = [range(first, size_of(x, 1 + axis) - last) for axis, (first, last) in enumerate(sides)]
    return moving.slice(x, {1 + axis: chosen for axis, chosen in enumerate(sizes)})


def center_crop(moving: Moving, parts: list[Part], layer: Any, shape: Shape) -> Part | None:
    """CenterCrop of what is no smaller, which it would resize."""
    (x,) = parts
    sizes = {1: int(layer.height), 2: int(layer.width)}
    starts = {axis: (size_of(x, axis) - size) // 2 for axis, size in sizes.items()}
    if len(x.shape) != 4 or min(starts.values()) < 0:
        return None
    return moving.slice(x, {axis: range(start, start + sizes[axis]) for axis, start in starts.items()})


def pooled_volumes(moving: Volumes, parts: list[Part], layer: Any, shape: Shape) -> Part:
    """MaxPooling3D and AveragePooling3D, which counts no padding."""
    (x,), out = parts, [size_of(Part("", shape), axis) for axis in (1, 2, 3)]
    inside, kernel, stride = [size_of(x, axis) for axis in (1, 2, 3)], tuple(layer.pool_size), tuple(layer.strides)
    each = tuple(zip(inside, kernel, stride, strict=True))
    sides = tuple(same_padding(*sizes) if layer.padding == "same" else (0, 0) for sizes in each)
    if type(layer).__name__.startswith("Max"):
        attrs = {"kernel": kernel, "stride": stride, "padding": sides, "overhang": (0,) * 3, "dilation": (1,) * 3}
        return moving.largest_of_windows(x, attrs, out)
    windows = windows_of(inside, kernel, stride, [before for before, _ in sides], out)
    return moving.averages_of_windows(x, windows, lambda window: True)


def repeated_volumes(moving: Volumes, parts: list[Part], layer: Any, shape: Shape) -> Part:
    """UpSampling3D: each element so many times along each axis."""
    return moving.repeated_elements(parts[0], tuple(map(int, layer.size)))


def repeat_vector(moving: Moving, parts: list[Part], layer: Any, shape: Shape) -> Part:
    """RepeatVector: the features as every step of a series."""
    (x,) = parts
    return moving.repeat(moving.reshape(x, (x.shape[0], 1, *x.shape[1:])), {1: int(layer.n)})


LAYERS: Mapping[str, Callable[[Any, list[Part], Any, Shape], Part | None]] = {
    **reducing.LAYERS,
    **rectifying.LAYERS,
    **resizing.LAYERS,
    "CenterCrop": center_crop,
    "Cropping1D": crop,
    "Cropping2D": crop,
    "Cropping3D": crop,
    "MaxPooling3D": pooled_volumes,
    "AveragePooling3D": pooled_volumes,
    "UpSampling3D": repeated_volumes,
    "RepeatVector": repeat_vector,
}


def _indexed(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    items = given["slice_spec"]
    items = list(items) if isinstance(items, (tuple, list)) else [items]
    items = [slice(i["start"], i["stop"], i["step"]) if isinstance(i, dict) else i for i in items]
    (x,) = parts
    axes: dict[int, range] = {}
    for axis, item in enumerate(item for item in for_every_axis(items, len(x.shape)) if item is not None):
        if axis == 0:
            if item != slice(None):
                return None
            continue
        every = range(size_of(x, axis))
        axes[axis] = every[item] if isinstance(item, slice) else every[int(item) :][:1]
    return moving.slice(x, axes) if all(axes.values()) else None


def _strided(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    if any(given[name] for name in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask")):
        return None
    begin, end = (list(map(int, given[name])) for name in ("begin", "end"))
    steps = [1] * len(begin) if given["strides"] is None else list(map(int, given["strides"]))
    spec = [
        slice(
            None if given["begin_mask"] >> i & 1 else b,
            None if given["end_mask"] >> i & 1 else e,
            None if s == 1 else s,
        )
        for i, (b, e, s) in enumerate(zip(begin, end, steps, strict=True))
    ]
    return _indexed(moving, parts, {"slice_spec": spec}, shape)


def _split(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part:
    (x,) = parts
    axis = int(given["axis"]) % len(x.shape)
    asked, index = given["num_or_size_splits"], int(given["index"])
    size = size_of(x, axis)
    sizes = [size // asked] * asked if isinstance(asked, int) else [int(each) for each in asked]
    sizes = [size - sum(sizes) - 1 if each == -1 else each for each in sizes]
    start = sum(sizes[:index])
    return moving.slice(x, {axis: range(start, start + sizes[index])})


def _unstacked(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part:
    (x,) = parts
    index = int(given["index"])
    return moving.slice(x, {int(given["axis"]) % len(x.shape): range(index, index + 1)})


def _transposed(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    order = [int(axis) for axis in given["perm"]]
    return moving.transpose(parts[0], order) if order[0] == 0 else None


def _reshaped(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    """Only where the batch stays the first axis."""
    if parts[0].shape == shape:
        return parts[0]
    sizes = [np.prod([size for size in each if not isinstance(size, Batch)]) for each in (parts[0].shape, shape)]
    return moving.reshape(parts[0], shape) if sizes[0] == sizes[1] else None


def _joined(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    axis = int(given["axis"]) % len(shape)
    return moving.concat(parts, axis) if axis else None


def _stacked(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    axis = int(given["axis"]) % len(shape)
    return moving.stack(parts, axis) if axis else None


def _padded(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    sides = [(int(before), int(after)) for before, after in np.asarray(given["paddings"])]
    mode = str(given["mode"]).lower()
    if any(sides[0]) or mode not in ("constant", "reflect", "symmetric"):
        return None
    if mode == "constant":
        value = float(given.get("constant_values") or 0.0)
        if abs(value) >= APART:
            return None
        return moving.framed(parts[0], sides, value) if value else moving.pad(parts[0], sides)
    return moving.bordered(parts[0], {axis: pair for axis, pair in enumerate(sides) if any(pair)}, mode)


def _to_space(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    return moving.depth_to_space(parts[0], int(given["block_size"])) if given["data_format"] == "NHWC" else None


def _to_depth(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    return moving.space_to_depth(parts[0], int(given["block_size"])) if given["data_format"] == "NHWC" else None


def _rolled(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part:
    axes, shifts = (np.atleast_1d(given[name]) for name in ("axis", "shift"))
    pairs = zip(axes, shifts, strict=True)
    return moving.roll(parts[0], {int(axis) % len(shape): int(shift) for axis, shift in pairs})


def _reversed(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part:
    axes = [int(axis) % len(shape) for axis in np.atleast_1d(given["axis"])]
    return moving.slice(parts[0], {axis: range(size_of(parts[0], axis) - 1, -1, -1) for axis in axes})


def _gathered(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    """tf.gather by constants, the same for every sample."""
    (x,) = parts
    if given["batch_dims"]:
        return None
    axis, chosen = int(given["axis"] or 0) % len(x.shape), np.asarray(given["indices"])
    if axis == 0 or chosen.size == 0:
        return None
    return moving.pick(x, axis, chosen.ravel().tolist())


def _tiled(moving: Moving, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    times = [int(count) for count in given["multiples"]]
    more = {axis: count for axis, count in enumerate(times) if count > 1}
    return moving.repeat(parts[0], more) if times[0] == 1 else None


def _broadcast(moving: Composing, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    """tf.broadcast_to sizes that are known, though the model may compute them."""
    x = parts[0]
    if len(x.shape) != len(shape) or None in shape or x.shape[0] != shape[0]:
        return None
    wide = Part(x.name, shape)
    return moving.repeat(
        x, {axis: size_of(wide, axis) for axis in range(1, len(shape)) if x.shape[axis] != shape[axis]}
    )


def _sliced(moving: Composing, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    """tf.slice by constants; a size of -1 is up to the end."""
    (x,), begin, sizes = parts, list(map(int, given["begin"])), list(map(int, given["size"]))
    if begin[0] or sizes[0] not in (-1,):
        return None
    ranges = {}
    for axis in range(1, len(x.shape)):
        first, size = begin[axis], sizes[axis]
        ranges[axis] = range(first, size_of(x, axis) if size == -1 else first + size)
    return moving.slice(x, ranges)


def _repeated(moving: Composing, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
    """tf.repeat of each element so many times."""
    (x,), axis = parts, given["axis"]
    times = given["repeats"]
    if not isinstance(axis, int) or is_symbol(times) or axis % len(x.shape) == 0:
        return None
    axis %= len(x.shape)
    if np.size(times) > 1:
        return moving.pick(x, axis, np.repeat(np.arange(size_of(x, axis)), np.asarray(times)).tolist())
    return moving.repeat_each(x, axis, int(np.ravel(times)[0]))


FUNCTIONS: Mapping[str, Move] = {
    **reducing.FUNCTIONS,
    **resizing.FUNCTIONS,
    "__operators__.getitem": _indexed,
    "strided_slice": _strided,
    "split": _split,
    "unstack": _unstacked,
    "transpose": _transposed,
    **dict.fromkeys(["reshape", "squeeze", "expand_dims"], _reshaped),
    "concat": _joined,
    "stack": _stacked,
    "pad": _padded,
    "nn.depth_to_space": _to_space,
    "nn.space_to_depth": _to_depth,
    "gather": _gathered,
    "roll": _rolled,
    "reverse": _reversed,
    "tile": _tiled,
    "slice": _sliced,
    "repeat": _repeated,
    "broadcast_to": _broadcast,
}
"""By TensorFlow's symbol."""

"""Some elements along axes: indexing, narrow and select, and the tensors that chunk, split and unbind give."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from mpq_plugins.graph.moving import for_every_axis, size_of
from mpq_plugins.graph.node import Batch, Node
from mpq_torch.reader.call import Call, Made, Rule
from mpq_torch.reader.moving import begun
from mpq_torch.reader.reducing import values_of

_TAKES_SAMPLES = "taking some of the samples of a batch has no integer kernel"


def index(call: Call) -> Made:
    """``x[...]`` by numbers, slices, None and an ellipsis; or one of the tensors that a call gives."""
    source = call.node.args[0]
    if not isinstance(source, fx.Node):
        return call.unknown("taking one of several results has no integer kernel")
    if source not in call.observed.shapes:
        return _one_of(call, source)
    wanted = call.argument(1, "index")
    items = for_every_axis(wanted if isinstance(wanted, tuple) else (wanted,), len(call.in_shape))
    axes = [item for item in items if item is not None]
    picked = {axis: _positions(call, item) for axis, item in enumerate(axes) if not _is_plain(item)}
    known = {axis: positions for axis, positions in picked.items() if positions is not None}
    unknown = len(known) < len(picked)
    if len(picked) > 1 or unknown or (picked and len(items) > len(axes)):
        return call.unknown("indexing by a tensor has no integer kernel (by numbers, slices and one list it has)")
    plain = {axis: item for axis, item in enumerate(axes) if axis not in picked}
    if not picked:
        return _chosen(call, plain)
    ((axis, positions),) = known.items()
    if any(isinstance(item, int) for item in plain.values()) or isinstance(call.in_shape[axis], Batch):
        return call.unknown("indexing by a list, and by numbers or along the samples, has no integer kernel")
    return _chosen(call, plain, (axis, positions))


def _is_plain(item: Any) -> bool:
    return item is None or (isinstance(item, (int, slice)) and not isinstance(item, bool))


def _positions(call: Call, item: Any) -> NDArray[np.int64] | None:
    """The positions that an index names: a list or tensor of whole numbers, or of truths, that is always the same."""
    found = call.held(item) if isinstance(item, fx.Node) else item
    if isinstance(found, Tensor):
        found = found.detach().cpu().numpy()
    elif not isinstance(found, (list, tuple)) or not all(isinstance(each, int) for each in found):
        return None
    array = np.asarray(found)
    if array.dtype == bool:
        return np.flatnonzero(array) if array.ndim == 1 else None
    return array if array.size and np.issubdtype(array.dtype, np.integer) else None


def index_select(call: Call) -> Made:
    """torch.index_select by constants."""
    positions = _positions(call, call.argument(2, "index"))
    axis = int(call.argument(1, "dim")) % len(call.in_shape)
    if positions is None or isinstance(call.in_shape[axis], Batch):
        return call.unknown("indexing by a tensor has no integer kernel (by numbers, slices and one list it has)")
    return _chosen(call, {}, (axis, positions))


def narrow(call: Call) -> Made:
    """torch.narrow."""
    axis, start, length = (int(call.argument(1 + i, name)) for i, name in enumerate(("dim", "start", "length")))
    size = call.in_shape[axis % len(call.in_shape)]
    start = start if start >= 0 or isinstance(size, Batch) else start + size
    return _chosen(call, {axis: slice(start, start + length)})


def select(call: Call) -> Made:
    """torch.select."""
    return _chosen(call, {int(call.argument(1, "dim")): int(call.argument(2, "index"))})


def flip(call: Call) -> Made:
    """torch.flip."""
    dims = call.numbers(1, "dims")
    moving, x = begun(call)
    ranges: dict[int, range] = {}
    for dim in dims:
        size = x.shape[int(dim) % len(x.shape)]
        if isinstance(size, Batch):
            return call.unknown(_TAKES_SAMPLES)
        ranges[int(dim) % len(x.shape)] = range(size - 1, -1, -1)
    return moving.done(moving.slice(x, ranges))


def _chosen(call: Call, items: dict[int, int | slice], picked: tuple[int, NDArray[np.int64]] | None = None) -> Made:
    """items: by axis. picked: an axis, and the positions along it, whose own axes come in its place."""
    moving, x = begun(call)
    ranges: dict[int, range] = {}
    for axis, item in items.items():
        place = axis % len(x.shape)
        size = x.shape[place]
        if isinstance(size, Batch):
            if item not in (slice(None), slice(0, None), slice(None, None, 1), slice(0, None, 1)):
                return call.unknown(_TAKES_SAMPLES)
            continue
        ranges[place] = range(size)[item] if isinstance(item, slice) else range(size)[item : item + 1 or None]
        if not ranges[place]:
            return call.unknown("a slice without an element has no integer kernel")
    x = moving.slice(x, ranges)
    if picked is not None:
        axis, positions = picked
        x = moving.pick(x, axis, positions.ravel().tolist())
    return moving.done(x if x.shape == call.shape else moving.reshape(x, call.shape))


def several(call: Call) -> Made:
    """chunk, split and unbind: nothing by themselves, and a slice for each of their tensors that is read."""
    if not all(user.target is operator.getitem and isinstance(user.args[1], int) for user in call.node.users):
        return call.unknown("several tensors in one have no integer kernel; take them one by one")
    axis = _SEVERAL[call.node.target](call) % len(call.in_shape)
    return call.unknown(_TAKES_SAMPLES) if isinstance(call.in_shape[axis], Batch) else []


def _one_of(call: Call, source: fx.Node) -> Made:
    """One of the tensors of a call: the positions behind those of the tensors before it."""
    extreme = values_of(call)
    if extreme is not None:
        return extreme
    given = call.observed.values.get(source)
    known = _SEVERAL.get(source.target) if source.op in ("call_function", "call_method") else None
    wanted = call.node.args[1]
    if known is None or not isinstance(given, (list, tuple)) or not isinstance(wanted, int):
        return call.unknown("taking one of several results has no integer kernel")
    inner = Call(source, call.name, None, call.names, call.observed, call.attribute)
    if not isinstance(several(inner), list):
        return call.unknown("several tensors in one have no integer kernel; take them one by one")
    axis = known(inner) % len(inner.in_shape)
    sizes = [_length(tensor, axis, len(inner.in_shape)) for tensor in given]
    number = wanted % len(sizes)
    start = sum(sizes[:number])
    moving, x = begun(inner)
    x = moving.slice(x, {axis: range(start, start + sizes[number])})
    return moving.done(x if x.shape == call.shape else moving.reshape(x, call.shape))


def _length(tensor: Tensor, axis: int, rank: int) -> int:
    return int(tensor.shape[axis]) if tensor.dim() == rank else 1


def _axis(position: int) -> Callable[[Call], int]:
    return lambda call: int(call.argument(position, "dim", 0))


_SEVERAL: dict[Any, Callable[[Call], int]] = {
    **dict.fromkeys([torch.chunk, torch.split, torch.tensor_split, "chunk", "split", "tensor_split"], _axis(2)),
    **dict.fromkeys([torch.functional.split, "split_with_sizes"], _axis(2)),
    **dict.fromkeys([torch.unbind, "unbind"], _axis(1)),
}
"""The axis of a call that gives several tensors."""


def gated(call: Call) -> Made:
    """F.glu and nn.GLU: the first half times the sigmoid of the second."""
    dim = call.given(1, "dim", -1)
    moving, x = begun(call)
    axis = int(dim) % len(x.shape)
    if isinstance(x.shape[axis], Batch):
        return call.unknown(_TAKES_SAMPLES)
    half = size_of(x, axis) // 2
    value, gate = (moving.slice(x, {axis: range(start, start + half)}) for start in (0, half))
    sigmoid = Node(f"{call.name}__sigmoid", "sigmoid", (gate.name,), gate.shape)
    return [*moving.nodes, sigmoid, call.made("mul", (value.name, sigmoid.name))]


MODULES: dict[Any, Rule] = {nn.GLU: gated}
FUNCTIONS: dict[Any, Rule] = {
    F.glu: gated,
    **dict.fromkeys(_SEVERAL, several),
    **dict.fromkeys([torch.narrow, "narrow"], narrow),
    **dict.fromkeys([torch.select, "select"], select),
    **dict.fromkeys([torch.flip, "flip"], flip),
    **dict.fromkeys([torch.index_select, "index_select"], index_select),
    operator.getitem: index,
}

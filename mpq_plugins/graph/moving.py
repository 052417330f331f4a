"""Moves of elements that take several nodes: rolls, mirrors, stacks, and channels moved into space and back.

Both readers build them here, so that every runtime sees the same few records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mpq_plugins.graph.node import Batch, Node, Shape


@dataclass(frozen=True)
class Part:
    """A tensor on the way. name: of the node that gives it. shape: batch included."""

    name: str
    shape: Shape


def for_every_axis(items: Sequence[Any], rank: int) -> list[Any]:
    """The items of an index ``x[...]``: one for every axis, whole ones where nothing is said, and None for new axes.

    >>> for_every_axis((0, ..., None, slice(1, 2)), 4)
    [0, slice(None, None, None), slice(None, None, None), None, slice(1, 2, None)]
    """
    named = sum(item is not None and item is not ... for item in items)
    rest = [slice(None)] * (rank - named)
    found: list[Any] = []
    for item in items:
        found += rest if item is ... else [item]
    return found if any(item is ... for item in items) else [*found, *rest]


class Moving:
    """The nodes of one call, in their order; the last one takes the name of the call. Axes include the batch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []

    def done(self, part: Part) -> list[Node]:
        """The nodes, the last of which gives the part under the name of the call; a reshape where nothing moves."""
        if not self.nodes or self.nodes[-1].name != part.name:
            self.reshape(part, part.shape)
        return [*self.nodes[:-1], replace(self.nodes[-1], name=self.name)]

    def slice(self, x: Part, ranges: Mapping[int, range]) -> Part:
        """The positions of these ranges, by axis; none of them empty."""
        starts, steps = [0] * len(x.shape), [1] * len(x.shape)
        stops: list[int | None] = [None] * len(x.shape)
        shape = list(x.shape)
        for axis, chosen in ranges.items():
            if chosen == range(size_of(x, axis)):
                continue
            last = chosen[-1] + (1 if chosen.step > 0 else -1)
            step = chosen.step if len(chosen) > 1 else 1
            starts[axis], steps[axis], shape[axis] = chosen[0], step, len(chosen)
            stops[axis] = chosen[0] + 1 if len(chosen) == 1 else None if last < 0 else last
        if tuple(shape) == x.shape and set(steps) == {1}:
            return x
        attrs = {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)}
        return self._add("slice", (x,), tuple(shape), attrs)

    def reshape(self, x: Part, shape: Shape) -> Part:
        """The same elements in the same order."""
        return self._add("reshape", (x,), shape, {})

    def transpose(self, x: Part, order: Sequence[int]) -> Part:
        """The axes in another order."""
        return self._add("transpose", (x,), tuple(x.shape[axis] for axis in order), {"order": tuple(order)})

    def concat(self, parts: Sequence[Part], axis: int) -> Part:
        """The parts one behind another; one alone as it is."""
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(size_of(part, axis) for part in parts)
        return self._add("concat", tuple(parts), tuple(shape), {"axis": axis})

    def pad(self, x: Part, sides: Sequence[tuple[int, int]]) -> Part:
        """Zeros around every axis."""
        sizes = zip(x.shape, sides, strict=True)
        shape = tuple(n if isinstance(n, Batch) else n + before + after for n, (before, after) in sizes)
        return self._add("pad", (x,), shape, {"pads": tuple(sides)})

    def add(self, a: Part, b: Part, shape: Shape) -> Part:
        """The sum of two parts."""
        return self._add("add", (a, b), shape, {})

    def clamp(self, x: Part, low: float, high: float) -> Part:
        """Every element within bounds."""
        return self._add("clamp", (x,), x.shape, {}, low=low, high=high)

    def framed(self, x: Part, sides: Sequence[tuple[int, int]], value: float) -> Part:
        """A number around every axis: slabs of the tensor itself, clamped to it, so that they are on its grid."""
        for axis, (before, after) in enumerate(sides):
            if before or after:
                seen = self.slice(x, {axis: range(1)})
                slab = self.clamp(seen, value, value)
                x = self.concat([*[slab] * before, x, *[slab] * after], axis)
        return x

    def pick(self, x: Part, axis: int, positions: Sequence[int]) -> Part:
        """The elements at these positions of an axis, in their order; positions below zero count from the end."""
        size = size_of(x, axis)
        chosen = [position % size for position in positions]
        assert chosen, f"{x.name}: no positions"
        assert all(-size <= position < size for position in positions), f"{x.name}: no such position"
        return self.concat([self.slice(x, {axis: run}) for run in _runs(chosen)], axis)

    def repeat(self, x: Part, times: Mapping[int, int]) -> Part:
        """The whole tensor so many times along axes, as tile and repeat have it."""
        for axis, count in times.items():
            x = self.concat([x] * count, axis)
        return x

    def repeat_each(self, x: Part, axis: int, times: int) -> Part:
        """Each element of an axis so many times: along an axis of its own, which is joined with it."""
        before, size, behind = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        wide = self.repeat(self.reshape(x, (*before, size, 1, *behind)), {axis + 1: times})
        grown = Batch(size.times * times) if isinstance(size, Batch) else size * times
        return self.reshape(wide, (*before, grown, *behind))

    def roll(self, x: Part, shifts: Mapping[int, int]) -> Part:
        """The elements moved on by so many along axes; those that leave at the end come in at the front."""
        for axis, shift in shifts.items():
            size = size_of(x, axis)
            cut = -shift % size
            if cut:
                halves = self.slice(x, {axis: range(cut, size)}), self.slice(x, {axis: range(cut)})
                x = self.concat(halves, axis)
        return x

    def bordered(self, x: Part, sides: Mapping[int, tuple[int, int]], mode: str) -> Part:
        """A border of the tensor's own elements. mode: "reflect", "symmetric", "replicate" or "circular"."""
        for axis, (before, after) in sides.items():
            size = size_of(x, axis)
            outside = [range(-before, 0), range(size, size + after)]
            front, back = ([_source(mode, position, size) for position in side] for side in outside)
            inside = self.slice(x, {axis: range(max(0, -before), size - max(0, -after))})
            parts = [self.slice(x, {axis: run}) for run in _runs(front)]
            parts = [*parts, inside, *(self.slice(x, {axis: run}) for run in _runs(back))]
            x = self.concat(parts, axis)
        return x

    def stack(self, parts: Sequence[Part], axis: int) -> Part:
        """The parts one behind another along an axis of their own."""
        shape = parts[0].shape
        single = (*shape[:axis], 1, *shape[axis:])
        return self.concat([self.reshape(part, single) for part in parts], axis)

    def pixel_shuffle(self, x: Part, factor: int) -> Part:
        """Channels into rows and columns, as torch numbers them: [.., C r r, H, W] to [.., C, H r, W r].

        Twice four axes rather than five at once, since integer programs have four.
        """
        batch, channels, rows, columns = x.shape[0], size_of(x, 1), size_of(x, 2), size_of(x, 3)
        out = channels // factor**2
        x = self.reshape(x, (batch, out * factor, factor, rows, columns))
        x = self.transpose(x, (0, 1, 3, 4, 2))
        x = self.reshape(x, (batch, out, factor, rows, columns * factor))
        x = self.transpose(x, (0, 1, 3, 2, 4))
        return self.reshape(x, (batch, out, rows * factor, columns * factor))

    def pixel_unshuffle(self, x: Part, factor: int) -> Part:
        """Rows and columns into channels, as torch numbers them: [.., C, H r, W r] to [.., C r r, H, W]."""
        batch, channels = x.shape[0], size_of(x, 1)
        rows, columns = size_of(x, 2) // factor, size_of(x, 3) // factor
        x = self.reshape(x, (batch, channels, rows, factor, columns * factor))
        x = self.transpose(x, (0, 1, 3, 2, 4))
        x = self.reshape(x, (batch, channels * factor, rows, columns, factor))
        x = self.transpose(x, (0, 1, 4, 2, 3))
        return self.reshape(x, (batch, channels * factor**2, rows, columns))

    def depth_to_space(self, x: Part, factor: int) -> Part:
        """Channels into rows and columns, as TensorFlow numbers them: [.., H, W, r r C] to [.., H r, W r, C]."""
        batch, rows, columns, channels = x.shape[0], size_of(x, 1), size_of(x, 2), size_of(x, 3)
        out = channels // factor**2
        x = self.reshape(x, (batch, rows, columns, factor, factor * out))
        x = self.transpose(x, (0, 1, 3, 2, 4))
        return self.reshape(x, (batch, rows * factor, columns * factor, out))

    def space_to_depth(self, x: Part, factor: int) -> Part:
        """Rows and columns into channels, as TensorFlow numbers them: [.., H r, W r, C] to [.., H, W, r r C]."""
        batch, channels = x.shape[0], size_of(x, 3)
        rows, columns = size_of(x, 1) // factor, size_of(x, 2) // factor
        x = self.reshape(x, (batch, rows, factor, columns, factor * channels))
        x = self.transpose(x, (0, 1, 3, 2, 4))
        return self.reshape(x, (batch, rows, columns, factor**2 * channels))

    def channel_shuffle(self, x: Part, groups: int) -> Part:
        """The channels of the groups in turns."""
        batch, channels = x.shape[0], size_of(x, 1)
        split = self.reshape(x, (batch, groups, channels // groups, *x.shape[2:]))
        order = (0, 2, 1, *range(3, len(split.shape)))
        return self.reshape(self.transpose(split, order), x.shape)

    def _add(self, op: str, inputs: Sequence[Part], shape: Shape, attrs: Mapping[str, Any], **fields: Any) -> Part:
        name = f"{self.name}.{op}{len(self.nodes)}"
        self.nodes.append(Node(name, op, tuple(part.name for part in inputs), shape, attrs=attrs, **fields))
        return Part(name, shape)


def size_of(x: Part, axis: int) -> int:
    """The size of an axis that is not that of the samples."""
    size = x.shape[axis]
    assert not isinstance(size, Batch), f"{x.name}: the samples of a batch stay where they are"
    return size


def _source(mode: str, position: int, size: int) -> int:
    """The element that stands at a position outside of an axis."""
    if mode == "replicate":
        return min(max(position, 0), size - 1)
    if mode == "circular":
        return position % size
    if position < 0:
        return -position - (1 if mode == "symmetric" else 0)
    return 2 * size - position - (1 if mode == "symmetric" else 2)


def _runs(positions: Sequence[int]) -> list[range]:
    """Positions as ranges by steps of one, forwards or backwards.

    >>> _runs([2, 1, 0]), _runs([4, 4, 5])
    ([range(2, -1, -1)], [range(4, 5), range(4, 6)])
    """
    found: list[range] = []
    for position in positions:
        last = found[-1] if found else None
        if last is not None and len(last) == 1 and abs(position - last[0]) == 1:
            step = position - last[0]
            found[-1] = range(last[0], position + step, step)
        elif last is not None and len(last) > 1 and position == last[-1] + last.step:
            found[-1] = range(last[0], position + last.step, last.step)
        else:
            found.append(range(position, position + 1))
    return found

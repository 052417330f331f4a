"""Convolutions and poolings of volumes, as those of images that every runtime has.

A convolution of volumes is one of images whose channels are those of all slices that a window sees along the depth: the
same sums of the same products, rounded once. The slices of the depth are so many more samples. A pooling is one of the
slices, and then one along the depth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.moving import Moving, Part, size_of
from mpq_plugins.graph.node import Batch, Graph, Layout, Node
from mpq_plugins.graph.pooling import Exact, Pooling, Window, clipped

CONV3D = "conv3d"


def volumes_as_images(graph: Graph, alone: bool = False) -> Graph:
    """The graph with every convolution of volumes on grids as one of images of the same name, and moves around it.

    alone: samples stay apart, as integer programs have them: one convolution for each slice that comes out.
    """
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    calls: Counter[str] = Counter()
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        if node.op == CONV3D:
            x = Part(inputs[0], graph[node.inputs[0]].shape)
            made = _slice_by_slice(node, x, graph.layout, calls) if alone else _at_once(node, x, graph.layout)
            renamed[node.name] = made[-1].name
            nodes += made
        else:
            nodes.append(node if inputs == node.inputs else replace(node, inputs=inputs))
    return replace(graph, nodes=tuple(nodes), outputs=tuple(renamed.get(name, name) for name in graph.outputs))


def _at_once(node: Node, x: Part, layout: Layout) -> list[Node]:
    """One convolution, which takes the slices for samples."""
    second = layout == "NCHW"
    before = Moving(f"{node.name}__slices")
    out, samples = size_of(Part("", node.shape), _depth(layout)), node.shape[0]
    assert isinstance(samples, Batch), f"{node.name}: volumes have samples"
    seen = _windows(before, node, x, range(out), layout)
    seen = before.transpose(seen, (0, 2, 1, 3, 4)) if second else seen
    many = Batch(samples.times * out)
    flat = before.reshape(seen, (many, *seen.shape[2:]))
    planes = _planes_of(node, layout)
    after = Moving(f"{node.name}__volume")
    y = after.reshape(Part(node.name, (many, *planes)), (samples, out, *planes))
    y = after.transpose(y, (0, 2, 1, 3, 4)) if second else y
    return [*before.nodes, _of_images(node, flat, many, planes), *after.done(y)]


def _slice_by_slice(node: Node, x: Part, layout: Layout, calls: Counter[str]) -> list[Node]:
    """A convolution of the same weight for each slice; they share a grid, behind one another along the depth.

    calls: of each layer so far, of whose names this is the next.
    """
    made: list[Node] = []
    slices = []
    depth, planes, samples = _depth(layout), _planes_of(node, layout), node.shape[0]
    for index in range(size_of(Part("", node.shape), depth)):
        owner = node.layer or node.name
        own = node if not calls[owner] else replace(node, name=f"{owner}__call{calls[owner]}", layer=owner)
        calls[owner] += 1
        moving = Moving(f"{own.name}__slices")
        seen = _windows(moving, own, x, range(index, index + 1), layout)
        flat = moving.reshape(seen, (samples, *(n for axis, n in enumerate(seen.shape) if axis not in (0, depth))))
        conv = _of_images(own, flat, samples, planes)
        wide = (samples, *planes[: depth - 1], 1, *planes[depth - 1 :])
        slices.append(moving.reshape(Part(conv.name, conv.shape), wide))
        made += [*moving.nodes[:-1], conv, moving.nodes[-1]]
    after = Moving(f"{node.name}__volume")
    return [*made, *after.done(after.concat(slices, depth))]


def _depth(layout: Layout) -> int:
    return 2 if layout == "NCHW" else 1


def _planes_of(node: Node, layout: Layout) -> tuple[Any, ...]:
    """The shape of a slice of the output, without samples."""
    return (*node.shape[1:2], *node.shape[3:]) if layout == "NCHW" else node.shape[2:]


def _windows(moving: Moving, node: Node, x: Part, out: range, layout: Layout) -> Part:
    """What the windows of these slices of the output see along the depth, as channels: those of the first slice first,
    and in groups by group."""
    a, weight, depth, channel = node.attrs, node.weight, _depth(layout), 1 if layout == "NCHW" else 4
    assert weight is not None
    kernel, stride, dilation = weight.shape[2], a["stride"][0], a["dilation"][0]
    if any(a["padding"][0]):
        x = moving.pad(x, tuple(a["padding"][0] if axis == depth else (0, 0) for axis in range(5)))
    first, last = out[0] * stride, out[-1] * stride + 1
    slices = [moving.slice(x, {depth: range(first + n * dilation, last + n * dilation, stride)}) for n in range(kernel)]
    seen = moving.concat(slices, channel)
    groups, inside = int(a["groups"]), weight.shape[1]
    if groups > 1 and kernel > 1:
        order = np.arange(kernel * groups * inside).reshape(kernel, groups, inside).swapaxes(0, 1)
        seen = moving.pick(seen, channel, order.ravel().tolist())
    return seen


def _of_images(node: Node, x: Part, samples: int | Batch, planes: tuple[Any, ...]) -> Node:
    weight = node.weight
    assert weight is not None
    attrs = {**node.attrs, **{key: tuple(node.attrs[key][1:]) for key in ("stride", "padding", "dilation")}}
    weight = weight.swapaxes(1, 2).reshape(len(weight), weight.shape[2] * weight.shape[1], *weight.shape[3:])
    return replace(node, op="conv2d", inputs=(x.name,), shape=(samples, *planes), weight=weight, attrs=attrs)


class Volumes(Pooling):
    """Poolings of volumes: the nodes of one call, as Pooling's.

    The elements are seen as images twice: with channels second the slices are more channels, and then the depth lies
    along the rows; with channels last the columns are more channels, and then they are the columns of images of one
    row for each row of each slice.
    """

    def largest_of_windows(self, x: Part, attrs: Mapping[str, Sequence[Any]], out: Sequence[int]) -> Part:
        """attrs: of a max pooling over three axes. out: the sizes of those."""
        for pair in _PAIRS[self.layout]:
            seen = self._seen(x, out, pair)
            along = {key: tuple(plain if n is None else attrs[key][n] for n in pair) for key, plain in _NEUTRAL.items()}
            sizes = self._sizes(seen, pair, out)
            x = self._volume(x, self._add("max_pool", (seen,), sizes, along), out, pair)
        return x

    def averages_of_windows(self, x: Part, windows: Sequence[Sequence[Window]], exact: Exact) -> Part:
        """The mean of every window over two axes, rounded onto the grid, and then that along the third."""
        out, first = [len(each) for each in windows], self._first
        for pair in _PAIRS[self.layout]:
            seen = self._seen(x, out, pair)
            alone = [[(n, n + 1) for n in range(size_of(seen, first + place))] for place in (0, 1)]
            along = {first + place: alone[place] if n is None else windows[n] for place, n in enumerate(pair)}
            x = self._volume(x, self.averages(seen, along, exact), out, pair)
        return x

    def repeated_elements(self, x: Part, times: Sequence[int]) -> Part:
        """Each element so many times along depth, rows and columns."""
        out = [size_of(x, self._first + index) * count for index, count in enumerate(times)]
        for pair in _PAIRS[self.layout]:
            along = {self._first + place: 1 if n is None else times[n] for place, n in enumerate(pair)}
            x = self._volume(x, self.repeated(self._seen(x, out, pair), along), out, pair)
        return x

    @property
    def _first(self) -> int:
        """The axis of the depth, and of the rows of an image."""
        return 2 if self.layout == "NCHW" else 1

    def _seen(self, x: Part, out: Sequence[int], pair: Pair) -> Part:
        """The volumes as images of the axes of a pair."""
        batch, sizes = x.shape[0], [size_of(x, axis) for axis in range(1, 5)]
        if self.layout == "NCHW":
            channels, depth, rows, columns = sizes
            flat = (channels * depth, rows, columns) if pair[1] == 2 else (channels, depth, rows * columns)
        else:
            depth, rows, columns, channels = sizes
            flat = (depth, rows, columns * channels) if pair[0] == 0 else (depth * rows, columns, channels)
        return self.reshape(x, (batch, *flat))

    def _sizes(self, seen: Part, pair: Pair, out: Sequence[int]) -> tuple[int | Batch, ...]:
        """The shape of such images once their axes have the sizes of the output."""
        sizes = list(seen.shape)
        for place, n in enumerate(pair):
            if n is not None:
                sizes[self._first + place] = out[n]
        return tuple(sizes)

    def _volume(self, x: Part, seen: Part, out: Sequence[int], pair: Pair) -> Part:
        """The images as volumes again, of the output's sizes along the axes of the pair."""
        sizes = list(x.shape)
        for n in pair:
            if n is not None:
                sizes[self._first + n] = out[n]
        return self.reshape(seen, tuple(sizes))


Pair = tuple[int | None, int | None]
"""Which axes of a volume, by number among depth, rows and columns, the rows and columns of images are; None for one
along which nothing happens."""
_PAIRS: Mapping[Layout, tuple[Pair, Pair]] = {"NCHW": ((1, 2), (0, None)), "NHWC": ((0, 1), (None, 2))}
_NEUTRAL: Mapping[str, Any] = {"kernel": 1, "stride": 1, "padding": (0, 0), "overhang": 0, "dilation": 1}


def windows_of(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], before: Sequence[int], out: Sequence[int]
) -> list[list[Window]]:
    """The windows along each axis, without what lies in the padding."""
    return [clipped(*each) for each in zip(sizes, kernel, stride, before, out, strict=True)]

"""Transposed convolutions of volumes, as plain ones whose channels are moved into space.

Of a stride s, the outputs s apart are one convolution of the input with every s-th tap of the kernel: the s of each
axis are so many more channels, which then take turns along it. The sums are those of the same products, rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mpq_plugins.graph.moving import Moving, Part, size_of
from mpq_plugins.graph.node import Batch, Graph, Layout, Node, Weight
from mpq_plugins.graph.volumes import CONV3D

CONV_TRANSPOSE3D = "conv_transpose3d"


def transposed_as_plain(graph: Graph) -> Graph:
    """The graph with transposed convolutions of volumes on grids as plain ones of the same names, and moves behind."""
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        node = node if inputs == node.inputs else replace(node, inputs=inputs)
        if node.op != CONV_TRANSPOSE3D:
            nodes.append(node)
            continue
        source = graph[node.inputs[0]] if node.inputs[0] in graph else nodes[-1]
        made = _plain(node, source.shape, graph.layout)
        renamed[node.name] = made[-1].name
        nodes += made
    return replace(graph, nodes=tuple(nodes), outputs=tuple(renamed.get(name, name) for name in graph.outputs))


def _plain(node: Node, shape: tuple[int | Batch, ...], layout: Layout) -> list[Node]:
    a, first, x = node.attrs, 2 if layout == "NCHW" else 1, Part(node.inputs[0], shape)
    stride, weight = a["stride"], node.weight
    assert weight is not None
    weight = _spread(weight, a["dilation"])
    out = [size_of(Part("", node.shape), first + n) for n in range(3)]
    taps = [-(-size // step) for size, step in zip(weight.shape[2:], stride, strict=True)]
    ends = [-(-(before + size) // step) for (before, _), size, step in zip(a["padding"], out, stride, strict=True)]
    skipped = [before // step for (before, _), step in zip(a["padding"], stride, strict=True)]
    turns = [end - skip for end, skip in zip(ends, skipped, strict=True)]
    sides = tuple(
        (tap - 1 - skip, end - size_of(x, first + n))
        for n, (tap, skip, end) in enumerate(zip(taps, skipped, ends, strict=True))
    )
    border = Moving(f"{node.name}__border")
    if any(before != after or before < 0 for before, after in sides):
        x, sides = _bordered(border, x, sides, first), ((0, 0),) * 3
    kernel, many = _by_turns(weight, stride, taps), int(np.prod(stride))
    bias = None if node.bias is None else np.repeat(node.bias, many)
    channels = len(kernel)
    sizes = (node.shape[0], channels, *turns) if layout == "NCHW" else (node.shape[0], *turns, channels)
    attrs = {"stride": (1, 1, 1), "padding": sides, "dilation": (1, 1, 1), "groups": a["groups"]}
    conv = replace(node, op=CONV3D, inputs=(x.name,), shape=sizes, weight=kernel, bias=bias, attrs={**a, **attrs})
    moving = Moving(f"{node.name}__space")
    y = Part(node.name, sizes)
    for axis, step in reversed(list(enumerate(stride, first))):
        y = _into_space(moving, y, axis, step, layout)
    ranges = {first + n: range(b % stride[n], b % stride[n] + out[n]) for n, (b, _) in enumerate(a["padding"])}
    return [*border.nodes, conv, *moving.done(moving.slice(y, ranges))]


def _bordered(moving: Moving, x: Part, sides: Sequence[tuple[int, int]], first: int) -> Part:
    """Zeros around the axes of a volume, or elements cut off: what no kernel does on one side alone."""
    inside = {
        first + n: range(max(0, -before), size_of(x, first + n) - max(0, -after))
        for n, (before, after) in enumerate(sides)
    }
    x = moving.slice(x, inside)
    around = dict(enumerate(sides, first))
    zeros = [tuple(max(0, side) for side in around.get(axis, (0, 0))) for axis in range(5)]
    return moving.pad(x, [(before, after) for before, after in zeros])


def _spread(weight: Weight, dilation: Sequence[int]) -> Weight:
    """The kernel with the zeros between its taps."""
    sizes = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    spread = np.zeros((*weight.shape[:2], *sizes), weight.dtype)
    depth, rows, columns = dilation
    spread[:, :, ::depth, ::rows, ::columns] = weight
    return spread


def _by_turns(weight: Weight, stride: Sequence[int], taps: Sequence[int]) -> Weight:
    """[out * turns, in / groups, taps]: the taps of each turn from the last to the first, zeros where there is none."""
    sides = [(0, tap * s - k) for tap, s, k in zip(taps, stride, weight.shape[2:], strict=True)]
    whole = np.pad(weight, ((0, 0), (0, 0), *sides))
    split = whole.reshape(*whole.shape[:2], *(n for pair in zip(taps, stride, strict=True) for n in pair))
    turned = split[:, :, ::-1, :, ::-1, :, ::-1].transpose(0, 3, 5, 7, 1, 2, 4, 6)
    return np.ascontiguousarray(turned.reshape(-1, weight.shape[1], *taps))


def _into_space(moving: Moving, x: Part, axis: int, step: int, layout: Layout) -> Part:
    """Channels that take turns along an axis; the turns are their last factor. Four axes of a sample at most."""
    if step == 1:
        return x
    sizes = list(x.shape)
    wide = list(sizes)
    channel = 1 if layout == "NCHW" else 4
    wide[axis], wide[channel] = size_of(x, axis) * step, size_of(x, channel) // step
    before, behind = (
        int(np.prod([n for n in part if not isinstance(n, Batch)]))
        for part in (sizes[2 if layout == "NCHW" else 1 : axis + 1], sizes[axis + 1 :])
    )
    if layout == "NCHW":
        x = moving.reshape(x, (sizes[0], wide[channel], step, before, behind))
        x = moving.transpose(x, (0, 1, 3, 2, 4))
    else:
        x = moving.reshape(x, (sizes[0], before, behind // step, step))
        x = moving.transpose(x, (0, 1, 3, 2))
    return moving.reshape(x, tuple(wide))

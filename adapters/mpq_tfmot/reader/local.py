"""Keras' locally connected layers: a weight for each place, which is a convolution in as many groups at one place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpq_plugins.graph.lonely_norms import at_one_position
from mpq_plugins.graph.moving import Moving, Part, size_of
from mpq_plugins.graph.node import Node
from mpq_tfmot.reader.call import Call, array_of

KINDS = ("LocallyConnected1D", "LocallyConnected2D")


def locally_connected(call: Call) -> list[Node] | str:
    """The nodes of such a layer, the one with the weight under its name; why it has no such form, where it has none."""
    layer = call.layer
    if layer.implementation != 1 or layer.padding != "valid" or layer.data_format != "channels_last":
        return "only implementation=1 of a locally connected layer has an integer form; build it with that"
    (x,) = call.parts
    before, filters, sizes = Moving(f"{call.name}__places"), call.shape[-1], call.shape[:-1]
    places = int(np.prod(sizes))
    seen = before.concat(
        [before.slice(x, taken) for taken in _taps(x, layer.kernel_size, layer.strides, sizes)], len(x.shape) - 1
    )
    flat = before.reshape(seen, (x.shape[0], 1, 1, places * size_of(seen, len(sizes) + 1)))
    weight = array_of(layer.kernel).swapaxes(1, 2).reshape(places * filters, -1, 1, 1)
    bias = array_of(layer.bias).ravel() if layer.use_bias else None
    attrs = {**at_one_position(2), "groups": places}
    owner = None if call.owner == call.name else call.owner
    shape = (call.samples, 1, 1, places * filters)
    made = Node(call.name, "conv2d", (flat.name,), shape, weight, bias, layer=owner, attrs=attrs)
    after = Moving(f"{call.name}__back")
    return [*before.nodes, made, *after.done(after.reshape(Part(made.name, made.shape), call.whole()))]


def _taps(x: Part, kernel: Sequence[int], stride: Sequence[int], out: Sequence[int]) -> list[dict[int, range]]:
    """By axis, where each element of all windows is."""
    return [
        {1 + axis: range(at, at + (n - 1) * step + 1, step) for axis, (at, n, step) in enumerate(each)}
        for tap in np.ndindex(*kernel)
        if (each := list(zip(tap, out, stride, strict=True)))
    ]

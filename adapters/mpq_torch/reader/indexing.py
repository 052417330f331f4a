"""The index of ``x[...]``, put together again from the ops of ATen that it becomes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import fx
from torch._ops import OpOverload

from mpq_torch.calling.node_arguments import source_of
from mpq_torch.reader.aten import aten_name, cut_of, named_arguments

_PARTS = ("slice", "select", "unsqueeze")


def indexings(graph: fx.Graph) -> dict[fx.Node, tuple[fx.Node, tuple[Any, ...]]]:
    """By the last op of each ``x[...]`` by numbers, slices and None: what is indexed, and the index.

    One op for each item of the index; only where nothing but the next one reads it.
    """
    calls: dict[Any, list[fx.Node]] = {}
    for node in graph.nodes:
        label = node.meta.get("torch_fn")
        if label is not None and label[0].startswith("__getitem__"):
            calls.setdefault(label, []).append(node)
    found = {}
    for nodes in calls.values():
        index = _index(nodes)
        if index is not None:
            found[nodes[-1]] = (source_of(nodes[0]), index)
    return found


def _index(nodes: Sequence[fx.Node]) -> tuple[Any, ...] | None:
    """The items of the index, one for every axis up to the last that is named; None where the ops are no chain."""
    for before, node in pairwise(nodes):
        if not node.args or node.args[0] is not before or len(before.users) != 1:
            return None
    source = nodes[0].args[0] if nodes[0].args else None
    if (
        not isinstance(source, fx.Node)
        or "val" not in source.meta
        or any(aten_name(n.target) not in _PARTS for n in nodes)
    ):
        return None
    items: list[Any] = [slice(None)] * source.meta["val"].dim()
    for node in nodes:
        assert isinstance(node.target, OpOverload)  # as all that has a name of ATen's
        given = named_arguments(node.target, node.args, node.kwargs)
        places = [place for place, item in enumerate(items) if not isinstance(item, (int, fx.Node))]
        name, dim = aten_name(node.target), int(given.get("dim", 0))
        if name == "unsqueeze":
            items.insert([*places, len(items)][dim % (len(places) + 1)], None)
            continue
        place = places[dim % len(places)]
        if items[place] != slice(None):
            return None
        items[place] = cut_of(given) if name == "slice" else given["index"]
    while items and items[-1] == slice(None):
        items.pop()
    return tuple(items) or (slice(None),)

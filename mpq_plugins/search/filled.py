"""A graph of the same function whose activations fill the grids of a recipe, channel by channel.

channel_classes says which channels can have a factor, channel_scales which factor loses least; what is here measures
both on calibration data, and puts the factors into the layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.node import INPUT, RAW, Graph, Node
from mpq_plugins.graph.runner import Runner, Tensor
from mpq_plugins.graph.sites import GraphSites
from mpq_plugins.graph.weights import groups_of
from mpq_plugins.grid import Grid
from mpq_plugins.search.channel_classes import KEPT, Channels, channel_classes
from mpq_plugins.search.channel_scales import OCTAVES, Losses, chosen_scales, errors_by_threshold
from mpq_plugins.search.chunk import Chunk, samples_of
from mpq_plugins.search.directions import direction_at
from mpq_plugins.search.ends import loss_ends
from mpq_plugins.search.usual import usual
from mpq_plugins.sensitivity.fisher import FisherDirections
from mpq_plugins.terminal.progress import stage

VALUES = 2**12
"""Of a channel, over all samples, that its errors are measured on, or up to twice as many."""
FLOOR = 1e-3
"""Of the mean importance of a tensor's channels, which every channel has at least."""

Array = NDArray[np.float64]


def filled(
    graph: Graph,
    sites: GraphSites,
    grids: Mapping[str, Grid],
    runner: Runner,
    chunks: Sequence[Chunk],
    progress: bool | None = None,
    seed: int = 0,
) -> Graph:
    """The graph with a factor on every channel that can have one; its function stays, but for float rounding.

    sites, grids: whose activation bits the factors are for; thresholds play no part. chunks: calibration data, tensors
    of the runner's framework. A channel that reaches the upper bound of its ReLU6 on them keeps its factor.
    """
    channels = channel_classes(graph)
    if not channels:
        return graph
    looked = _Looked(graph, sites, channels, runner)
    chunks = usual(looked.model, chunks)
    total = sum(map(samples_of, chunks))
    with stage("measuring channels", progress, total) as advance:
        first, directions = 0, FisherDirections(seed)
        for chunk in chunks:
            looked.look(chunk, directions, first, total)
            first += samples_of(chunk)
            advance(samples_of(chunk))
    return rescaled(graph, channels, looked.scales(grids))


def rescaled(graph: Graph, channels: Mapping[str, Channels], scales: Array) -> Graph:
    """The graph whose layers put on each channel the factor of its class, and take back those of what they read."""

    def placed(node: Node) -> Node:
        if node.weight is None or not {node.name, *node.inputs} & channels.keys():
            return node
        outputs, inputs = (_factors(channels, name, scales) for name in (node.name, node.inputs[0]))
        groups = groups_of(node)
        weight = node.weight.reshape(groups, len(node.weight) // groups, node.weight.shape[1], -1)
        if inputs is not None:
            weight = weight / inputs.reshape(groups, 1, -1, 1)
        if outputs is None:
            return replace(node, weight=weight.reshape(node.weight.shape))
        weight = weight * outputs.reshape(groups, -1, 1, 1)
        bias = None if node.bias is None else node.bias * outputs
        return replace(node, weight=weight.reshape(node.weight.shape), bias=bias)

    return graph.mapped(placed)


def _factors(channels: Mapping[str, Channels], name: str, scales: Array) -> Array | None:
    return np.asarray(scales[channels[name].classes]) if name in channels else None


@dataclass
class _Looked:
    """What was measured of the channels of every activation site that has some to scale."""

    graph: Graph
    sites: GraphSites
    channels: Mapping[str, Channels]
    runner: Runner
    values: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    energies: dict[str, Array] = field(default_factory=dict)
    peaks: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model = FloatModel(self.graph, self.runner)
        at = self.sites.grid_of
        self.owners = {at[name]: name for name in self.channels if at.get(name) == self.graph[name].site}

    def look(self, chunk: Chunk, directions: FisherDirections, first: int, total: int) -> None:
        """Take the values and the gradients of one chunk. first: number of its first sample, of ``total``."""
        run, samples = self.runner, samples_of(chunk)

        def step(node: Node, inputs: Sequence[Any]) -> Any:
            value = self.model.step(node, inputs)
            return run.watched(value) if node.op == INPUT or (node.weighted and node.op not in RAW) else value

        with run.recording():
            values = run_nodes(self.graph, chunk, step)
            for site, name in self.owners.items():
                self._take(site, self._by_channel(name, values[name]), samples, total)
            found = {name: values[name] for name in loss_ends(self.graph) if run.differentiable(values[name])}
            starts = [
                direction_at(self.graph, name, directions, run.numpy(value), index, 0, first, samples)
                for index, (name, value) in enumerate(found.items())
            ]
            names = list(self.owners)

            def use(index: int, gradient: Tensor) -> None:
                site = names[index]
                near = self._by_channel(self.owners[site], run.numpy(gradient))
                own = np.square(near, dtype=np.float64).sum(axis=1) / total
                self.energies[site] = self.energies.get(site, 0.0) + own

            if found:
                with run.gradients(list(found.values()), [values[name] for name in self.owners.values()]) as take:
                    take(starts, use)

    def scales(self, grids: Mapping[str, Grid]) -> Array:
        """The factor of each class."""
        count = 1 + max(int(c.classes.max()) for c in self.channels.values())
        most = np.full(count, np.inf)
        for name, own in self.channels.items():
            high, site = self.graph[name].high, self.sites.grid_of.get(name, name)
            if high is not None:
                peak = self.peaks[site] if self.owners.get(site) == name else np.full(len(own.classes), high)
                room = np.where(peak < high, high / np.maximum(peak, high * 2.0**-OCTAVES), 1.0)
                np.minimum.at(most, own.classes, room)
                most[own.classes[peak >= high]] = 0.0
        fixed = most == 0
        tensors = [self._losses(site, grids[site]) for site in self.owners if site in grids]
        tensors = [replace(t, classes=np.where(fixed[t.classes], KEPT, t.classes)) for t in tensors]
        return chosen_scales(tensors, count, np.maximum(most, 1.0))

    def _losses(self, site: str, grid: Grid) -> Losses:
        values = np.concatenate(self.values[site], axis=1)
        first, table = errors_by_threshold(values, grid.bits, grid.signed)
        energy = self.energies.get(site, np.zeros(len(values)))
        importance = energy + FLOOR * energy.mean()
        group = self.sites.inventory[site].group or site
        return Losses(group, self.channels[self.owners[site]].classes, first, table * importance[:, None])

    def _take(self, site: str, values: NDArray[Any], samples: int, total: int) -> None:
        """values: [channels, samples * positions]."""
        peak = np.abs(values).max(axis=1, initial=0.0).astype(np.float64)
        self.peaks[site] = np.maximum(self.peaks[site], peak) if site in self.peaks else peak
        by_sample = values.reshape(len(values), samples, -1)
        every = max(1, math.floor(by_sample.shape[2] * total / VALUES)) | 1  # odd, so that it runs through all columns
        kept = np.ascontiguousarray(by_sample[:, :, ::every], np.float32).reshape(len(values), -1)
        self.values.setdefault(site, []).append(kept)

    def _by_channel(self, name: str, value: Any) -> NDArray[Any]:
        """[channels, all else], samples first."""
        array = value if isinstance(value, np.ndarray) else self.runner.numpy(value)
        return np.moveaxis(array, self.channels[name].axis, 0).reshape(len(self.channels[name].classes), -1)

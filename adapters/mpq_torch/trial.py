"""The float model with some of its tensors changed: what sensitivities by trial are measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.moments import Array
from mpq_plugins.problem import PROBES, Change
from mpq_torch.batches import in_chunks
from mpq_torch.canonical import WEIGHTED, CanonicalModel
from mpq_torch.inventory import GraphSites
from mpq_torch.layer_matrix import weight_from_matrix, weight_matrix


class Trial:
    """Runs a canonical model on at most PROBES samples, with changes that are undone to the bit."""

    def __init__(self, model: CanonicalModel, sites: GraphSites, batches: Sequence[tuple[Any, ...]]) -> None:
        self._graph = model.graph
        self._layers = {f"{node.target}.weight": m for node, m in model.nodes() if isinstance(m, WEIGHTED)}
        self._nodes = dict(sites.owner_nodes)
        self._batches = _first(batches, PROBES)

    def outputs(self, changes: Mapping[str, Change]) -> tuple[Array, ...]:
        """Every float output of the model, its batches one after another.

        changes: by site, what to make of a weight in matrix form [out, in], or of an activation.
        Raises ModelError for a site that the model does not have.
        """
        unknown = [name for name in changes if name not in self._layers and name not in self._nodes]
        if unknown:
            raise ModelError(f"the model has no site {', '.join(unknown)}")
        at = {self._nodes[name]: change for name, change in changes.items() if name in self._nodes}
        runner = _Changed(self._graph, at)
        with torch.no_grad(), self._changed(changes):
            results = [_floats(runner.run(*batch)) for batch in self._batches]
        return tuple(np.concatenate(parts) for parts in zip(*results, strict=True))

    @contextmanager
    def _changed(self, changes: Mapping[str, Change]) -> Iterator[None]:
        kept: list[tuple[nn.Module, Tensor]] = []
        try:
            for name, change in changes.items():
                layer = self._layers.get(name)
                if layer is None:
                    continue
                kept.append((layer, layer.weight.data))
                matrix = weight_matrix(layer)
                rows = np.asarray(change(matrix.flatten(0, 1).double().numpy()))
                new = torch.from_numpy(np.ascontiguousarray(rows)).to(matrix.dtype).reshape(matrix.shape)
                layer.weight.data = weight_from_matrix(layer, new)
            yield
        finally:
            for layer, weight in kept:
                layer.weight.data = weight


class _Changed(fx.Interpreter):
    """Runs a graph and changes what some nodes return."""

    def __init__(self, graph: fx.GraphModule, changes: Mapping[fx.Node, Change]) -> None:
        super().__init__(graph)
        self._changes = changes

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and change its result where that is wanted."""
        result = super().run_node(n)
        change = self._changes.get(n)
        if change is None:
            return result
        return torch.from_numpy(np.asarray(change(result.double().numpy()))).to(result.dtype)


def _first(batches: Sequence[tuple[Any, ...]], samples: int) -> list[tuple[Any, ...]]:
    """Batches that hold about the first ``samples`` samples."""
    found, count = [], 0
    for batch in in_chunks(batches, samples):
        size = max((len(t) for t in batch if isinstance(t, Tensor) and t.dim()), default=1)
        splits = all(isinstance(t, Tensor) and t.dim() and len(t) == size for t in batch)
        found.append(tuple(t[: samples - count] for t in batch) if splits else batch)
        count += size
        if count >= samples:
            break
    return found


def _floats(output: Any) -> list[Array]:
    leaves, _ = torch.utils._pytree.tree_flatten(output)
    return [leaf.double().numpy() for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]

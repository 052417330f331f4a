"""The inventory of a canonical model: its sites, groups, MACs, and what is in memory at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mpq_plugins.inventory import Inventory, Site
from mpq_tfmot.canonical import CanonicalModel
from mpq_tfmot.canonical_ops import ALIASES, FLOAT, OWN_GRID, Op


@dataclass(frozen=True)
class ModelSites:
    """inventory; grid_of: op name -> the activation site whose grid its output has."""

    inventory: Inventory
    grid_of: Mapping[str, str]


def take_inventory(model: CanonicalModel, signed_inputs: Mapping[str, bool] | None = None) -> ModelSites:
    """All sites of a canonical model. signed_inputs: model input -> whether it goes below zero (yes, if not said)."""
    walk = _Walk(model, signed_inputs or {})
    for op in model.ops:
        if op.kind != FLOAT:
            walk.visit(op)
    return walk.finish()


@dataclass
class _Walk:
    model: CanonicalModel
    signed_inputs: Mapping[str, bool]
    sites: list[Site] = field(default_factory=list)
    grid_of: dict[str, str] = field(default_factory=dict)
    negative: dict[str, bool] = field(default_factory=dict)
    group_of: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.readers = self.model.readers()

    def visit(self, op: Op) -> None:
        below = any(self.negative[name] for name in op.inputs)
        if op.kind == "input":
            self._add(op, self.signed_inputs.get(op.name, True))
        elif op.kind in ALIASES:
            self.grid_of[op.name] = self.grid_of[op.inputs[0]]
            self.negative[op.name] = below and not _rectified(op)
        elif op.kind in OWN_GRID:
            if op.weighted:
                self._add_weight(op)
            self._add(op, below or op.kind != "add")
        else:
            self._add(op, below)
            for name in op.inputs:
                self._join(self.grid_of[name], op.name)

    def _add(self, op: Op, negative: bool) -> None:
        readers = self.readers[op.name]
        read_rectified = (
            bool(readers)
            and op.name not in self.model.outputs
            and all(r.kind == "relu" and _rectified(r) for r in readers)
        )
        negative = negative and not _rectified(op) and not read_rectified
        inputs = tuple(dict.fromkeys(self.grid_of[name] for name in op.inputs))
        self.sites.append(Site(op.name, "activation", op.word, op.shape, signed=negative, inputs=inputs))
        self.grid_of[op.name] = op.name
        self.negative[op.name] = negative
        self.group_of[op.name] = op.name

    def _add_weight(self, op: Op) -> None:
        name, shape = op.weight_site, op.weight.shape
        source = self.grid_of[op.inputs[0]]
        axis = len(shape) + op.channel_axis
        macs = op.weight.size * positions(op, self.model[op.inputs[0]].shape)
        self.sites.append(Site(name, "weight", op.kind, tuple(shape), macs, axis, True, (source,)))
        self.group_of[name] = name

    def _join(self, a: str, b: str) -> None:
        keep, gone = self.group_of[a], self.group_of[b]
        self.group_of |= {name: keep for name, group in self.group_of.items() if group == gone}

    def finish(self) -> ModelSites:
        members: dict[str, list[Site]] = {}
        for site in self.sites:
            members.setdefault(self.group_of[site.name], []).append(site)
        sites = []
        for site in self.sites:
            group = members[self.group_of[site.name]]
            shared = self.group_of[site.name] if len(group) > 1 else None
            sites.append(replace(site, group=shared, signed=any(s.signed for s in group)))
        return ModelSites(Inventory(sites, self._live()), self.grid_of)

    def _live(self) -> list[tuple[str, ...]]:
        """For each op, the buffers in memory: what it writes, and all that it or a later op reads."""
        order = [op for op in self.model.ops if op.name in self.grid_of]
        last_read: dict[str, int] = {}
        for index, op in enumerate(order):
            last_read |= {self.grid_of[name]: index for name in op.inputs}
        late = [n for op in self.model.ops if op.name not in self.grid_of for n in op.inputs]
        last_read |= {self.grid_of[n]: len(order) for n in [*late, *self.model.outputs] if n in self.grid_of}
        live, made = [], []
        for index, op in enumerate(order):
            name = self.grid_of[op.name]
            if name not in made:
                made.append(name)
                live.append(tuple(m for m in made if m == name or last_read.get(m, -1) >= index))
        return live


def positions(op: Op, in_shape: tuple[int, ...]) -> int:
    """How often one sample multiplies with each weight."""
    return math.prod((in_shape if op.kind == "conv_transpose2d" else op.shape)[:-1])


def _rectified(op: Op) -> bool:
    return op.low is not None and op.low >= 0

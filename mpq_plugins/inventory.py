"""Site and Inventory: the tensors of a model that a recipe gives grids to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from mpq_plugins.errors import ModelError

FLOAT_BITS = 32
"""Bits of an element that is not quantized."""


@dataclass(frozen=True)
class Site:
    """One tensor to quantize: a weight, or an activation (a graph edge).

    name: unique in the model. A weight is ``<module>.weight``; an activation has the name of the
        module or functional op that computes it, a model input the name of the argument.
    kind: "weight" or "activation".
    op: the op that owns the weight or computes the activation, in the words of Target.ops
        ("conv2d", "depthwise_conv2d", "linear", "add", "concat", "input", ...).
    shape: of the weight; of the activation for ONE sample, without the batch axis.
    macs: multiply-accumulates per sample of the op that owns the weight; of an activation those of the matrix
        product that computes it, 0 for any other.
    channel_axis: the axis of the output channels of a weight; None for an activation.
    signed: whether values below zero occur (always True for a weight).
    inputs: for a weight, the activation site that its op multiplies it with; for an activation,
        the activation sites that its op reads.
    group: sites of one group must share one grid; None where the site is alone.
    """

    name: str
    kind: Literal["weight", "activation"]
    op: str
    shape: tuple[int, ...]
    macs: int = 0
    channel_axis: int | None = None
    signed: bool = True
    inputs: tuple[str, ...] = ()
    group: str | None = None

    @property
    def elements(self) -> int:
        """Number of elements (of one sample, for an activation)."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int | None:
        """Number of output channels of a weight."""
        return None if self.channel_axis is None else self.shape[self.channel_axis]


PLAIN = "plain"
"""The dtype of an argument that is no tensor."""
Plain = bool | int | float | str | None


@dataclass(frozen=True)
class ModelInput:
    """A tensor that a model takes, or a plain value that decided what it computes.

    name: of the argument. shape: batch included, None where it is open. dtype: a word; PLAIN of a plain value.
    path: where it is, the argument first, and then the keys in dicts, lists and tuples; () where the name says it.
    value: the plain value.

    >>> ModelInput("image", (None, 3, 32, 32)).place
    ('image',)
    """

    name: str
    shape: tuple[int | None, ...] = ()
    dtype: str = "float32"
    path: tuple[str | int, ...] = ()
    value: Plain = None

    @property
    def place(self) -> tuple[str | int, ...]:
        """The path, or the name."""
        return self.path or (self.name,)


@dataclass(frozen=True)
class Inventory:
    """All sites of a model, in the order in which the model computes them.

    float_weights: elements of the weights that stay float, by the op that holds them; each counts FLOAT_BITS bits in
        every budget of weights. float_macs: multiply-accumulates per sample of the ops that stay float, where they
        have any. float_reasons: why each is float, in a sentence.
    inputs: what the model takes.
    live: for each step of the execution, the activation sites that are in memory at once (what
        the op reads, what it writes, and what a later op still needs); the peak of activation
        bytes is the largest sum over these sets.

    >>> x = Site("x", "activation", "input", (3,))
    >>> inventory = Inventory([x, Site("fc.weight", "weight", "linear", (2, 3), macs=6, inputs=("x",))])
    >>> len(inventory), inventory["fc.weight"].elements
    (2, 6)
    """

    sites: Sequence[Site]
    live: Sequence[Sequence[str]] = ()
    float_weights: Mapping[str, int] = field(default_factory=dict)
    float_macs: Mapping[str, int] = field(default_factory=dict)
    float_reasons: Mapping[str, str] = field(default_factory=dict)
    inputs: Sequence[ModelInput] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        object.__setattr__(self, "live", tuple(tuple(names) for names in self.live))
        object.__setattr__(self, "inputs", tuple(self.inputs))
        for name in ("float_weights", "float_macs", "float_reasons"):
            object.__setattr__(self, name, dict(getattr(self, name)))
        if len(self._by_name) < len(self.sites):
            counts = Counter(site.name for site in self.sites)
            repeated = sorted(name for name, count in counts.items() if count > 1)
            raise ModelError(f"site names must be unique; repeated: {', '.join(repeated)}")
        named = {name for site in self.sites for name in site.inputs}
        named.update(name for names in self.live for name in names)
        unknown = sorted(named - set(self._by_name))
        if unknown:
            raise ModelError(f"sites refer to sites that do not exist: {', '.join(unknown)}")

    @cached_property
    def _by_name(self) -> dict[str, Site]:
        return {site.name: site for site in self.sites}

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Site:
        try:
            return self._by_name[name]
        except KeyError:
            raise ModelError(f"the model has no site {name!r}; it has {', '.join(self._by_name)}") from None

    @property
    def weights(self) -> tuple[Site, ...]:
        """The weight sites."""
        return tuple(site for site in self.sites if site.kind == "weight")

    @property
    def activations(self) -> tuple[Site, ...]:
        """The activation sites."""
        return tuple(site for site in self.sites if site.kind == "activation")

    @property
    def quantized_macs(self) -> float:
        """The share of the multiply-accumulates that is quantized; 1 where nothing is float."""
        quantized = sum(site.macs for site in self.sites)
        return quantized / (quantized + sum(self.float_macs.values())) if self.float_macs else 1.0

    def groups(self) -> dict[str, tuple[Site, ...]]:
        """Sites by group, in order; a site without a group is a group of its own name."""
        members: dict[str, list[Site]] = {}
        for site in self.sites:
            members.setdefault(site.group or site.name, []).append(site)
        return {name: tuple(sites) for name, sites in members.items()}

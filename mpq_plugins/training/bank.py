"""Bank: grid groups of one structure, whose small arithmetic is done at once whatever the depth of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.training.layout import Extent, Layout
from mpq_plugins.training.slot import Slot

LARGEST = 1 << 24
"""Elements that the weights of one bank have at most, unless a single one has more."""


@dataclass(frozen=True)
class Bank:
    """Groups of one kind and one set of candidates. arrays: its constants, of the framework at hand.

    signed, narrow: [groups], 1 where codes below zero exist, and where they are symmetric. low, high:
    [groups, candidates], the codes of each candidate's grid. most_bits: [groups].
    """

    layout: Layout
    arrays: Mapping[str, Array]

    @classmethod
    def of(cls, slots: Sequence[Slot]) -> Bank:
        """The bank of these groups, over NumPy."""
        layout = Layout(tuple(slots))
        return cls(layout, constants_of(layout))

    def over(self, arrays: Mapping[str, Array]) -> Bank:
        """The same with its constants in another framework."""
        return replace(self, arrays=arrays)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The groups, in order."""
        return self.layout.slots

    @property
    def kind(self) -> str:
        """weight or activation."""
        return self.slots[0].kind

    @property
    def bits(self) -> tuple[int, ...]:
        """The candidate bit-widths of every group, increasing."""
        return self.slots[0].bits

    def __getattr__(self, name: str) -> Array:
        if name.startswith("_") or name not in self.arrays:
            raise AttributeError(name)
        return self.arrays[name]

    def spread(self, ops: Ops, values: Array, source: Extent, to: Extent) -> Array:
        """Rows of ``source`` for each row of ``to`` that belongs to them."""
        if self.layout.alike(source, to):
            return values
        if to == "kernel" and source != "group":
            return ops.gather(values, self.arrays[f"{source} of kernel"])
        return ops.repeat(values, self.arrays[f"{to}s of {source}"], self.layout.total(to))

    def total(self, ops: Ops, values: Array, source: Extent, to: Extent) -> Array:
        """Sums over the rows of ``source`` that belong to a row of ``to``."""
        if self.layout.alike(source, to):
            return values
        return ops.segment_sum(values, self.arrays[f"{source}s of {to}"])

    def mean(self, ops: Ops, values: Array, source: Extent, to: Extent) -> Array:
        """Means over the rows of ``source`` that belong to a row of ``to``."""
        if self.layout.alike(source, to):
            return values
        return self.total(ops, values, source, to) / self.arrays[f"number of {source}s of {to}"]


def constants_of(layout: Layout) -> dict[str, Any]:
    """The constants of a bank, as Bank describes them, and what spreading and adding up need to know."""
    slots = layout.slots
    found: dict[str, Any] = {
        "signed": np.array([slot.signed for slot in slots], np.float32),
        "narrow": np.array([slot.narrow for slot in slots], np.float32),
        "low": np.array([[slot.low(b) for b in slot.bits] for slot in slots], np.float32),
        "high": np.array([[slot.high(b) for b in slot.bits] for slot in slots], np.float32),
        "most_bits": np.array([slot.bits[-1] for slot in slots], np.float32),
    }
    pairs: list[tuple[Extent, Extent]] = [("group", "channel"), ("group", "input_channel"), ("group", "kernel")]
    counts = {pair: np.array(layout.counts(pair[1]), np.int64) for pair in pairs}
    if slots[0].kind == "weight":
        counts["group", "element"] = np.array(layout.counts("element"), np.int64)
        counts["channel", "element"] = layout.channel_elements
    for (source, to), number in counts.items():
        found[f"{to}s of {source}"] = number
        found[f"number of {to}s of {source}"] = number.astype(np.float32)
    if not layout.alike("kernel", "channel") and not layout.alike("kernel", "input_channel"):
        found |= {f"{extent} of kernel": index for extent, index in layout.kernel_index.items()}
    elif not layout.alike("kernel", "channel"):
        found["channel of kernel"] = layout.kernel_index["channel"]
    elif not layout.alike("kernel", "input_channel"):
        found["input_channel of kernel"] = layout.kernel_index["input_channel"]
    return found


def banks_of(slots: Sequence[Slot], largest: int = LARGEST) -> list[Bank]:
    """The groups by structure, in as few banks as the number of elements allows; in each, in the order given.

    >>> from mpq_plugins.hardware.op_support import Candidate
    >>> slots = [Slot(n, "weight", (9,), (Candidate(b, True, False),)) for n, b in (("a", 4), ("b", 8), ("c", 4))]
    >>> [[slot.name for slot in bank.slots] for bank in banks_of(slots)]
    [['a', 'c'], ['b']]
    """
    found: dict[Any, list[list[Slot]]] = {}
    for slot in slots:
        weight = slot.kind == "weight"
        # codes of activations are arrays; those of weights are needed as plain numbers too
        banks = found.setdefault(
            (slot.kind, slot.bits, slot.narrow, slot.signed or not weight, slot.candidates[0].exponent), [[]]
        )
        if weight and banks[-1] and sum(s.elements for s in banks[-1]) + slot.elements > largest:
            banks.append([])
        banks[-1].append(slot)
    return [Bank.of(members) for banks in found.values() for members in banks]

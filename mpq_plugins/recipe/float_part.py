"""FloatPart: an op that a recipe leaves in float, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mpq_plugins.errors import RecipeError
from mpq_plugins.inventory import Inventory


@dataclass(frozen=True)
class FloatPart:
    """name: of the op. reason: why it is float, in a sentence. macs: its multiply-accumulates for one sample.

    weights: elements of the weights that it holds. Raises RecipeError for a number below zero.
    """

    name: str
    reason: str = ""
    macs: int = 0
    weights: int = 0

    def __post_init__(self) -> None:
        if self.macs < 0 or self.weights < 0:
            raise RecipeError(f"the float part {self.name!r} has {self.macs} macs and {self.weights} weights")


def float_parts(inventory: Inventory) -> tuple[FloatPart, ...]:
    """What an inventory says of its float parts.

    >>> float_parts(Inventory([], (), {"head": 20}, {"head": 20}, {"head": "kept in float", "softmax": "no kernel"}))
    (FloatPart(name='head', reason='kept in float', macs=20, weights=20), \
FloatPart(name='softmax', reason='no kernel', macs=0, weights=0))
    """
    said = (inventory.float_reasons, inventory.float_macs, inventory.float_weights)
    names = dict.fromkeys(name for known in said for name in known)
    reasons, macs, weights = said
    return tuple(FloatPart(name, reasons.get(name, ""), macs.get(name, 0), weights.get(name, 0)) for name in names)


def by_reason(parts: Iterable[FloatPart]) -> str:
    """The names of float parts, those of one reason together.

    >>> by_reason([FloatPart("gelu", "no kernel"), FloatPart("tanh", "no kernel"), FloatPart("head")])
    'gelu, tanh: no kernel; head'
    """
    named: dict[str, list[str]] = {}
    for part in parts:
        named.setdefault(part.reason, []).append(part.name)
    return "; ".join(", ".join(names) + (f": {reason}" if reason else "") for reason, names in named.items())

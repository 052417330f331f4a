"""HMQ's rule for the bits of activations: what a compression rate of the largest of them leaves to each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def activation_bits(
    elements: Mapping[str, int], rate: float, candidates: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """The paper's rule for activations: floor(32 * S_max / (rate * S)) bits for one of S elements.

    elements: of one sample, by name. candidates: by name; the result is the largest that is no larger
    than the rule's, or the smallest there is. The paper clamps to 4 .. 8.

    >>> activation_bits({"a": 1000, "b": 500}, 8, {"a": (4, 6, 8), "b": (4, 6, 8)})
    {'a': 4, 'b': 8}
    """
    largest = max(elements.values(), default=0)
    chosen = {}
    for name, size in elements.items():
        wanted = bits_at(size, largest, rate) if size else max(candidates[name])
        chosen[name] = max((b for b in candidates[name] if b <= wanted), default=min(candidates[name]))
    return chosen


def bits_at(elements: int, largest: int, rate: float) -> int:
    """The rule before anything bounds it. largest: elements of the largest activation."""
    return math.floor(32 * largest / (rate * elements))


def eased_bits(elements: int, largest: int, rates: Sequence[float], bits: int, most: int = 8) -> list[int]:
    """The bits of an activation at each of the rising rates on the way to ``bits``: the rule's, at least those.

    >>> eased_bits(1000, 1000, (4, 16 / 3, 20 / 3, 8), 4)
    [8, 6, 4, 4]
    """
    return [min(max(bits_at(elements, largest, rate), bits), max(most, bits)) for rate in rates]

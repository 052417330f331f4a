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
        wanted = math.floor(32 * largest / (rate * size)) if size else max(candidates[name])
        chosen[name] = max((b for b in candidates[name] if b <= wanted), default=min(candidates[name]))
    return chosen

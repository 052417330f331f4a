"""Why an outlier mask makes msqe's exponents flip: the mask moves, and takes whole errors with it.

    python -m benchmarks.exponent_flips

Gaussian weights that wander about where they are by 2 % of their deviation, as in the later part of a training; the
exponent follows by least squares and line search at each of 100 steps. Flips of a tensor in 1,000 steps: without a
mask, with the one of 2 standard deviations made anew at every step, and with the first step's, held still. "cross": the
elements that enter or leave the mask in a step.
"""

from __future__ import annotations

import numpy as np

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.exponents import Weights, least_squares, within_deviations
from mpq_plugins.training.slot import Slot

STEPS, MOVE, KEPT = 100, 0.02, 0.9
TENSORS = {9: 200, 144: 200, 2304: 40}
"""How many tensors of so many elements."""


def flips(elements: int, bits: int, seed: int = 0) -> tuple[dict[str, float], float]:
    """Flips of a tensor in 1,000 steps by kind of mask, and elements that cross the mask's border in a step."""
    random, tensors = np.random.default_rng(seed), TENSORS[elements]
    kind = (Candidate(bits, True, False),)
    bank = Bank.of([Slot(f"{i}", "weight", (elements,), kind) for i in range(tensors)])
    size = 2.0 ** random.uniform(0, 1, tensors)
    scale = np.repeat(size, elements)
    first, moved = random.standard_normal(scale.size) * scale, np.zeros_like(scale)
    exponents = {name: np.rint(np.log2(size * 3 / 2 ** (bits - 1))) for name in ("no mask", "mask", "mask held still")}
    found, crossed = dict.fromkeys(exponents, 0.0), 0.0
    still = before = None
    for step in range(STEPS):
        moved = KEPT * moved + MOVE * np.sqrt(1 - KEPT**2) * scale * random.standard_normal(scale.size)
        weights = Weights(NUMPY, bank, first + moved)
        mask = within_deviations(weights, 2.0)
        still = mask if still is None else still
        crossed += 0 if before is None else float((mask != before).sum())
        before = mask
        for name, importance in (("no mask", None), ("mask", mask), ("mask held still", still)):
            now = least_squares(weights, exponents[name], importance)
            found[name] += float((now != exponents[name]).sum()) if step else 0.0
            exponents[name] = now
    return {n: 1000 * v / tensors / (STEPS - 1) for n, v in found.items()}, crossed / tensors / (STEPS - 1)


def main() -> None:
    """Print a table."""
    print("| elements | bits | no mask | mask | mask held still | cross |\n|---|---|---|---|---|---|")
    for elements in TENSORS:
        for bits in (4, 3):
            found, crossed = flips(elements, bits)
            print(f"| {elements} | {bits} | " + " | ".join(f"{v:.1f}" for v in found.values()) + f" | {crossed:.2f} |")


if __name__ == "__main__":
    main()

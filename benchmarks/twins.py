"""Do both frameworks find the same recipe, and round to the same codes? Random networks with the same weights.

    python -m benchmarks.twins [--networks 20] [--samples 96] [--targets generic-po2 generic-po2-per-channel]

For each target: of how many networks the two searches give the same grids (bits and steps), at 4 bits on average
and activations of 4, 6 or 8 bits; and of how many the constrained weights and biases are equal to the bit, both
with the grids that torch found, torch's images in batches of 40, 7 and the rest and on another number of threads.
What differs is printed, and by what fraction the predicted losses of the two recipes differ.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import torch

import mpq_plugins as mpq
import mpq_tfmot
from benchmarks.twin_networks import (
    Step,
    TorchTwin,
    draw,
    images,
    in_torch_layout,
    keras_twin,
    twin_sites,
    with_grids_of,
)
from mpq_torch import fx

BITS = (4, 6, 8)
TARGETS = ("generic-po2", "generic-po2-per-channel")


@dataclass(frozen=True)
class Outcome:
    """What is different between two twins: sites with other grids, tensors with other values."""

    grids: tuple[str, ...]
    tensors: tuple[str, ...]


def compare(steps: tuple[Step, ...], seed: int, samples: int, target: str) -> Outcome:
    """Search and constrain both twins."""
    ours, theirs = TorchTwin(steps).eval(), keras_twin(steps)
    x, y = images(seed, samples)
    asked = {"budget": mpq.Budget(average_weight_bits=4), "activation_bits": BITS, "progress": False}
    found, other = fx.search(ours, [x], target, **asked), mpq_tfmot.search(theirs, y, target, **asked)
    inventory = mpq_tfmot.inventory(theirs)
    sites = twin_sites(inventory, fx.inventory(ours, x))
    grids = tuple(
        f"{name}: {found[twin].bits} and {other[name].bits} bits"
        for name, twin in sites.items()
        if (found[twin].bits, found[twin].signed, found[twin].steps)
        != (other[name].bits, other[name].signed, other[name].steps)
    )
    if grids:
        losses = fx.sensitivity(ours, [x], target, ("fisher",), activation_bits=BITS, progress=False)["fisher"]
        pairs = [
            (by_bits[found[s].bits], by_bits[other[n].bits]) for n, s in sites.items() if (by_bits := losses.get(s))
        ]
        mine, others = (sum(side) for side in zip(*pairs, strict=True))
        grids = (*grids, f"predicted losses differ by {abs(mine - others) / max(mine, others):.1e}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1 + threads % 2)
    on_grid = fx.constrain(ours, found, list(x.split([40, 7, samples - 47])))
    torch.set_num_threads(threads)
    twin = mpq_tfmot.constrain(theirs, with_grids_of(other, found, sites, inventory), y)
    return Outcome(grids, _different(steps, on_grid, twin))


def _different(steps: tuple[Step, ...], ours: torch.nn.Module, theirs: object) -> tuple[str, ...]:
    weights = {step.name: theirs.get_layer(step.name).get_weights() for step in steps if step.weight is not None}
    different = []
    for name in weights:
        layer = ours.get_submodule(name)
        step = next(s for s in steps if s.name == name)
        for what, a, b in zip(
            ("weight", "bias"), (layer.weight, layer.bias), in_torch_layout(step, weights, steps), strict=True
        ):
            values = a.detach().numpy()
            if not np.array_equal(values, b):
                different.append(f"{name}.{what}: {np.mean(values != b):.2%} of {b.size}")
    return tuple(different)


def main() -> None:
    """Print a line per network that differs, and the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    arguments = parser.parse_args()
    for target in arguments.targets:
        outcomes = [compare(draw(seed), seed, arguments.samples, target) for seed in range(arguments.networks)]
        for seed, outcome in enumerate(outcomes):
            for line in (*outcome.grids, *outcome.tensors):
                print(f"{target}, network {seed}: {line}")
        same_grids = sum(not outcome.grids for outcome in outcomes)
        same_codes = sum(not outcome.tensors for outcome in outcomes)
        print(
            f"{target}: same grids {same_grids} of {len(outcomes)}, same codes {same_codes} of {len(outcomes)}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Whether learned exponents of activations help msqe at few bits: accuracy on scikit-learn's digits.

    python -m benchmarks.low_activations [--networks mlp depthwise] [--bits 4 3] [--rates 0 0.1 0.2] [--seeds 5]

Weights at 4 bits per tensor, 160 steps of SGD at 0.01 from a network trained in float (benchmarks.arrival), activations
at so many bits; 500 test images, of which one is 0.2 points. rates: octaves that an exponent moves in a usual step; 0
for those of calibration.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F

from benchmarks.arrival import BATCH, trained_on_digits
from mpq_plugins.commands.digits import digits
from mpq_plugins.papers.msqe_training import MsqeTraining
from mpq_torch import fx

STEPS = 160


def hardened_accuracy(network: str, bits: int, rate: float, seed: int) -> float:
    """In per cent, on the test images, at the recipe's grids."""
    data = digits()
    net, x, y = trained_on_digits(network, seed)
    torch.manual_seed(seed)
    search = fx.Search(
        net,
        x[:BATCH],
        "torch-x86",
        method=MsqeTraining(learned_up_to=bits if rate else 0, activation_rate=rate),
        weight_bits=4,
        activation_bits=bits,
        per_channel=False,
        calibration=x[:512].split(BATCH),
        steps=STEPS,
        seed=seed,
        record_every=STEPS,
    )
    optimizer = torch.optim.SGD(search.parameter_groups(0.01), momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    while search.steps_done < STEPS:
        for i in torch.randperm(len(x), generator=generator).split(BATCH):
            if len(i) == BATCH and search.steps_done < STEPS:
                F.cross_entropy(search.model(x[i]), y[i]).backward()
                optimizer.step()
                optimizer.zero_grad()
                search.step()
    search.harden()
    images, labels = torch.from_numpy(data.test_images)[:, None], torch.from_numpy(data.test_labels)
    with torch.no_grad():
        return 100.0 * float((search.model.eval()(images).argmax(1) == labels).float().mean())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for every network, number of bits and rate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["mlp", "depthwise"])
    parser.add_argument("--bits", nargs="+", type=int, default=[4, 3])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.0, 0.1, 0.2])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    print("| network | activation bits | rate | by seed | mean |\n|---|---|---|---|---|", flush=True)
    for network in options.networks:
        for bits in options.bits:
            for rate in options.rates:
                found = [hardened_accuracy(network, bits, rate, seed) for seed in range(options.seeds)]
                each = ", ".join(f"{value:.1f}" for value in found)
                print(f"| {network} | {bits} | {rate:g} | {each} | {sum(found) / len(found):.1f} |", flush=True)


if __name__ == "__main__":
    main()

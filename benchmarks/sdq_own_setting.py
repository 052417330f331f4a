"""SDQ as its paper trains CIFAR-10: weights of less than two bits on average, activations in float, a teacher.

    python -m benchmarks.sdq_own_setting --data DIR [--bits 1.93] [--search-passes 2] [--passes 8]
        [--quantizer entropy] [--temperature 4] [--lr 0.04] [--clip 5] [--seed 0]

DIR holds ``cifar-10-batches-py`` and the checkpoints of akamaster/pytorch_resnet_cifar10. Phase 1 finds the
bits of ResNet-20's weights (1 to 4; the first and the last layer have 8, and count) on DoReFa's quantizer
under the budget; phase 2 starts again from the float weights, with the bits fixed, bin regularisation of 0.1
and soft labels of ResNet-32. Batch norms stay outside of the quantized weights, as in the paper; weights of
such grids exist in simulation only, so nothing is converted. Scored on the 10,000 test images.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import deque
from pathlib import Path

import torch

import mpq_plugins as mpq
from benchmarks.cifar import accuracy, load_images, load_model
from benchmarks.cifar_training import BATCH, load_teacher, loss_of, train
from mpq_plugins.hardware.op_support import ActivationGrids, OpSupport, WeightGrids
from mpq_plugins.hardware.target import Target
from mpq_plugins.papers.sdq import Sdq
from mpq_torch import fx
from mpq_torch.training.fake_quantize import PO2FakeQuantize

CALIBRATION = 512
ENDS = {"conv1.weight": 8, "linear.weight": 8}
FROM_ONE_BIT = Target(
    name="from-one-bit",
    description="weights of 1 to 8 bits per tensor",
    ops={
        "*": OpSupport(
            weight=WeightGrids(bits=tuple(range(1, 9)), granularity=("tensor",)),
            activation=ActivationGrids(),
            rounding="half_even",
            bias="accumulator",
        )
    },
)


def leave_activations_in_float(search: fx.Search) -> fx.Search:
    """Switch their fake-quantizers off, as torch.ao does it."""
    for module in search.model.modules():
        if isinstance(module, PO2FakeQuantize) and module.activation_post_process.quantizer.slot.kind == "activation":
            module.disable_fake_quant()
    return search


def main() -> None:
    """Print the bits, and accuracies after each phase."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archive and the checkpoints")
    parser.add_argument("--bits", type=float, default=1.93, help="average weight bits")
    parser.add_argument("--search-passes", type=float, default=2.0, help="of phase 1, over the training images")
    parser.add_argument("--passes", type=float, default=8.0, help="of phase 2")
    parser.add_argument("--quantizer", choices=["dorefa", "entropy"], default="entropy", help="of phase 2")
    parser.add_argument("--temperature", type=float, default=1.0, help="that softens the teacher's outputs")
    parser.add_argument("--lr", type=float, default=0.04)
    parser.add_argument("--clip", type=float, default=math.inf, help="the largest norm of the gradient")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    net = load_model("resnet20", arguments.data)
    images, labels = load_images(arguments.data, train=True)
    test = load_images(arguments.data, train=False)
    loss_of_batch = loss_of(load_teacher("resnet32", arguments.data), arguments.temperature)
    started = time.perf_counter()
    steps_of_pass = len(images) // BATCH
    shared = {
        "epoch_steps": steps_of_pass,
        "seed": arguments.seed,
        "calibration": images[:CALIBRATION].split(BATCH),
        "batch_norms": "keep",
    }
    searching = fx.Search(
        net,
        images[:BATCH],
        FROM_ONE_BIT,
        mpq.Budget(average_weight_bits=arguments.bits),
        Sdq(quantizer="dorefa", start_rate=8.0),
        weight_bits={**ENDS, "*": (1, 2, 3, 4)},
        activation_bits=8,
        steps=round(arguments.search_passes * steps_of_pass),
        **shared,
    )
    leave_activations_in_float(searching)
    settings = {"lr": arguments.lr, "clip": arguments.clip}
    for _ in train(searching, images, labels, loss_of_batch, searching.steps, seed=arguments.seed, **settings):
        pass
    searched = accuracy(searching.model.eval(), *test)
    recipe = searching.harden()
    print(recipe)
    fixed = fx.Search(
        net,
        images[:BATCH],
        FROM_ONE_BIT,
        method=Sdq(quantizer=arguments.quantizer, bin_weight=0.1),
        recipe=recipe,
        steps=round(arguments.passes * steps_of_pass),
        **shared,
    )
    leave_activations_in_float(fixed)
    phase = train(fixed, images, labels, loss_of_batch, fixed.steps, seed=arguments.seed + 1, **settings)
    loss = statistics.fmean(deque((loss for _, loss in phase), maxlen=100))
    trained = accuracy(fixed.model.eval(), *test)
    print(
        f"float {accuracy(net, *test):.2f} %, average {recipe.average_weight_bits:.3f} bits: "
        f"after phase 1 {searched:.2f} %, after phase 2 {trained:.2f} % (loss {loss:.4f}); "
        f"{arguments.search_passes:g} + {arguments.passes:g} passes, quantizer {arguments.quantizer}, "
        f"temperature {arguments.temperature:g}, rate {arguments.lr:g}, clip {arguments.clip:g}, "
        f"seed {arguments.seed}, {(time.perf_counter() - started) / 60:.0f} minutes"
    )


if __name__ == "__main__":
    main()

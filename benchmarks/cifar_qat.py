"""Training at low precision from a pretrained CIFAR-10 ResNet-20: accuracy, bits, seconds per step.

    python -m benchmarks.cifar_qat --data DIR --method hmq --bits 3 --passes 4 [--teacher resnet32]
        [--temperature 4] [--set NAME=VALUE ...] [--search-share 0.5] [--lr 0.04] [--clip 5] [--freeze-norms 1]
        [--seed 0] [--time-only]

DIR holds ``cifar-10-batches-py`` and the checkpoints of akamaster/pytorch_resnet_cifar10. Weights on
power-of-two grids per tensor, activations at 8 bits, batch norms folded in training; SGD with a one-cycle
rate, crops and flips of the 50,000 training images. Methods that search bits do so in the first part of
the passes and train at their choice in the rest; methods of fixed bits take the bits of a post-training
search. ``--set`` gives the method other hyper-parameters than its defaults. Scored on the 10,000 test
images; nothing is chosen by them. (SDQ's own setting: benchmarks.sdq_own_setting.)
"""

from __future__ import annotations

import argparse
import ast
import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import mpq_plugins as mpq
from benchmarks.cifar import accuracy, load_images, load_model
from benchmarks.cifar_training import BATCH, load_teacher, loss_of, train
from mpq_plugins.training.method import TrainingMethod
from mpq_plugins.training.plan import trainable
from mpq_torch import fx

CALIBRATION = 512
TIMED_STEPS = 8
HEADINGS = (
    "method",
    "bits",
    "passes",
    "teacher",
    "float %",
    "searched %",
    "hardened %",
    "finetuned %",
    "int8 %",
    "int8 = simulation",
    "average bits",
    "seed",
    "minutes",
)


def train_and_score(
    search: fx.Search,
    images: Tensor,
    labels: Tensor,
    arguments: argparse.Namespace,
    teacher: Callable[[Tensor], Tensor] | None,
    score: Callable[[nn.Module], float],
) -> tuple[mpq.Recipe, dict[str, float]]:
    """Search, harden, finetune; the recipe, and accuracies in per cent by moment."""
    total = round(arguments.passes * (len(images) // BATCH))
    settings = total, arguments.lr, arguments.seed, arguments.weight_decay, arguments.clip
    found = {}
    for step, _ in train(search, images, labels, loss_of(teacher, arguments.temperature), *settings):
        if step == search.steps:
            found["searched"] = _scored(search, score)
            search.harden()
            found["hardened"] = _scored(search, score)
        if step == round(total * arguments.freeze_norms):
            search.freeze_batch_norms()
    recipe = search.harden()
    found["finetuned"] = _scored(search, score)
    return recipe, found


def _scored(search: fx.Search, score: Callable[[nn.Module], float]) -> float:
    search.model.eval()
    found = score(search.model)
    search.model.train()
    return found


def seconds_per_step(arguments: argparse.Namespace, net: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Median seconds of a step: float, torch.ao's QAT, a search, and training at its choice; taken in turns."""
    from torch.ao.quantization import get_default_qat_qconfig_mapping
    from torch.ao.quantization.quantize_fx import prepare_qat_fx

    plain = prepare_qat_fx(copy.deepcopy(net).train(), get_default_qat_qconfig_mapping("x86"), images[:1])
    searching, fixed = build(arguments, net, images, 1000), build(arguments, net, images, 1000)
    runs: dict[str, tuple[nn.Module, fx.Search | None]] = {
        "float": (copy.deepcopy(net).train(), None),
        "torch.ao": (plain, None),
        "search": (searching.model, searching),
        "hardened": (fixed.model, fixed),
    }
    optimizers = {
        name: torch.optim.SGD(run.parameter_groups(1e-4) if run else model.parameters(), lr=1e-4, momentum=0.9)
        for name, (model, run) in runs.items()
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TIMED_STEPS + 2):
        x, y = images[turn * BATCH : (turn + 1) * BATCH], labels[turn * BATCH : (turn + 1) * BATCH]
        for name, (model, run) in runs.items():
            start = time.perf_counter()
            loss = F.cross_entropy(model(x), y) + (run.penalty() if run else 0.0)
            loss.backward()
            optimizers[name].step()
            optimizers[name].zero_grad()
            if run:
                run.step()
            times[name].append(time.perf_counter() - start)
        if turn == 0:
            fixed.harden()
    return {name: statistics.median(found[2:]) for name, found in times.items()}


def method_of(arguments: argparse.Namespace) -> TrainingMethod:
    """The method with the hyper-parameters of the command line."""
    settings: dict[str, Any] = {}
    for text in arguments.set:
        name, _, value = text.partition("=")
        try:
            settings[name] = ast.literal_eval(value)
        except ValueError:
            settings[name] = value
    return replace(trainable(arguments.method), **settings)


def build(arguments: argparse.Namespace, net: nn.Module, images: Tensor, steps: int) -> fx.Search:
    """The search of these arguments, from the pretrained network."""
    calibration = images[:CALIBRATION].split(BATCH)
    budget = mpq.Budget(average_weight_bits=arguments.bits)
    shared = {"steps": steps, "epoch_steps": len(images) // BATCH, "seed": arguments.seed, "calibration": calibration}
    method = method_of(arguments)
    if method.searches_bits:
        return fx.Search(
            net, images[:BATCH], "torch-x86", budget, method, activation_bits=8, per_channel=False, **shared
        )
    recipe = fx.search(net, calibration, "torch-x86", budget, activation_bits=8, per_channel=False)
    return fx.Search(net, images[:BATCH], "torch-x86", method=method, recipe=recipe, **shared)


def main() -> None:
    """Print one table row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archive and the checkpoints")
    parser.add_argument("--method", required=True)
    parser.add_argument("--bits", type=float, default=3.0, help="average weight bits")
    parser.add_argument("--passes", type=float, default=4.0, help="over the training images, search included")
    parser.add_argument("--search-share", type=float, default=0.5, help="of the passes, for methods that search")
    parser.add_argument("--teacher", choices=["resnet32", "resnet20"], default=None)
    parser.add_argument("--temperature", type=float, default=1.0, help="that softens the teacher's outputs")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="hyper-parameters of the method")
    parser.add_argument("--lr", type=float, default=0.04)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--clip", type=float, default=math.inf, help="the largest norm of the gradient")
    parser.add_argument("--freeze-norms", type=float, default=1.0, help="share of the steps after which norms freeze")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-only", action="store_true", help="seconds per step, no training")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    net = load_model("resnet20", arguments.data)
    images, labels = load_images(arguments.data, train=True)
    seconds = seconds_per_step(arguments, net, images, labels)
    print("seconds per step: " + ", ".join(f"{n} {s:.3f} ({s / seconds['torch.ao']:.2f})" for n, s in seconds.items()))
    if arguments.time_only:
        return
    test = load_images(arguments.data, train=False)
    teacher = load_teacher(arguments.teacher, arguments.data) if arguments.teacher else None
    share = arguments.search_share if method_of(arguments).searches_bits else 1.0
    started = time.perf_counter()
    search = build(arguments, net, images, round(share * arguments.passes * (len(images) // BATCH)))
    recipe, found = train_and_score(search, images, labels, arguments, teacher, lambda model: accuracy(model, *test))
    minutes = (time.perf_counter() - started) / 60
    trained = search.float_model()
    int8 = fx.quantize(trained, recipe, test[0][:1])
    simulated = fx.simulate(fx.constrain(trained, recipe), recipe)
    verification = fx.verify(int8, simulated, test[0].split(500))
    torch.backends.quantized.engine = "x86"
    row = (
        " ".join([arguments.method, *arguments.set]),
        f"{arguments.bits:g}",
        f"{arguments.passes:g}",
        arguments.teacher or "none",
        f"{accuracy(net, *test):.2f}",
        f"{found.get('searched', float('nan')):.2f}",
        f"{found.get('hardened', float('nan')):.2f}",
        f"{found['finetuned']:.2f}",
        f"{accuracy(int8, *test):.2f}",
        "exact" if verification.exact else str(verification),
        f"{recipe.average_weight_bits:.3f}",
        str(arguments.seed),
        f"{minutes:.0f}",
    )
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS))
    print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()

"""Whether searches arrive: the share of the budget that is used at the end, and what hardening costs.

    python -m benchmarks.arrival [--networks mlp depthwise keras resnet20] [--methods hmq sdq fdqmp] [--steps 200]
        [--seeds 3] [--first 0] [--bits 3] [--batch 32] [--data DIR]

Networks are trained on scikit-learn's digits ("keras": the same with tf_keras, TF-MOT and litert-po2), ResNet-20 is
the pretrained one of benchmarks.cifar_qat (--data: its folder; --batch images a step, 2,000 test images). A search of
so many steps under an average of weight bits, weights per tensor, activations at 8 bits, SGD at a rate of 0.01
(ResNet-20 and Keras 0.005).
"before settling": what the method's own expected bits cost of the budget when choices become final, and "open" how
many weights lie further than 0.1 from a candidate there; "own" and
"hardened" are the share of the budget that the search used at its end, and that of the recipe, in per cent.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import mpq_plugins as mpq
from mpq_plugins.commands.digits import digits
from mpq_plugins.training.plan import trainable
from mpq_plugins.training.settling import settling_step

BATCH = 64
RESOURCE = "average_weight_bits"
HEADINGS = (
    "network",
    "method",
    "steps",
    "seed",
    "before settling %",
    "open",
    "own %",
    "hardened %",
    "float acc",
    "searched acc",
    "hardened acc",
    "lost",
    "moved",
    "bits",
    "seconds",
)


@dataclass(frozen=True)
class Outcome:
    """Costs in the resource's unit, accuracies in per cent."""

    settling: float
    open: int
    own: float
    accuracies: tuple[float, float, float]
    recipe: mpq.Recipe

    @property
    def moved(self) -> int:
        """Weights that hardening gave other bits than the search."""
        return sum("learned by" not in entry.reason for entry in self.recipe.weights)


def undecided(expected: Mapping[str, float], candidates: Mapping[str, Sequence[int]]) -> int:
    """How many sites lie further than 0.1 from a candidate."""
    return sum(min(abs(expected[site] - b) for b in bits) > 0.1 for site, bits in candidates.items())


def torch_networks() -> dict[str, Any]:
    """By name, functions that make an untrained network for digits."""
    from torch import nn

    from mpq_torch.demo import network

    def mlp() -> nn.Module:
        sizes, parts = (64, 64, 48, 32, 10), []
        for before, after in itertools.pairwise(sizes):
            parts += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *parts[:-1])

    def pair(before: int, after: int, stride: int = 1) -> list[nn.Module]:
        depthwise = nn.Conv2d(before, before, 3, stride, 1, groups=before, bias=False)
        pointwise = nn.Conv2d(before, after, 1, bias=False)
        return [depthwise, nn.BatchNorm2d(before), nn.ReLU(), pointwise, nn.BatchNorm2d(after), nn.ReLU()]

    def depthwise() -> nn.Module:
        first = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
        rest = [layer for sizes in ((16, 32), (32, 32), (32, 64, 2), (64, 64)) for layer in pair(*sizes)]
        return nn.Sequential(*first, *rest, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))

    return {"mlp": mlp, "depthwise": depthwise, "residual": network}


def trained_on_digits(name: str, seed: int = 0) -> tuple[Any, Any, Any]:
    """A network of ``torch_networks``, trained in float, and the images and labels that it was trained on."""
    import torch

    data = digits()
    x, y = torch.from_numpy(data.train_images)[:, None], torch.from_numpy(data.train_labels)
    torch.manual_seed(seed)
    net, generator = torch_networks()[name]().train(), torch.Generator().manual_seed(seed)
    epochs, per_epoch = 20, len(x) // BATCH
    adam = torch.optim.Adam(net.parameters(), 3e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(adam, 3e-3, total_steps=epochs * per_epoch)
    for _ in range(epochs):
        for i in torch.randperm(len(x), generator=generator).split(BATCH)[:per_epoch]:
            torch.nn.functional.cross_entropy(net(x[i]), y[i]).backward()
            adam.step()
            adam.zero_grad()
            rates.step()
    return net.eval(), x, y


def torch_outcome(name: str, method: str, options: argparse.Namespace, seed: int) -> Outcome:
    """A search with fx.Search."""
    import torch
    import torch.nn.functional as F

    from mpq_torch import fx

    torch.manual_seed(seed)
    if name == "resnet20":
        from benchmarks.cifar import load_images, load_model
        from benchmarks.cifar_training import batches as augmented

        net, rate = load_model("resnet20", options.data), 0.005
        x, y = load_images(options.data, train=True)
        test = tuple(part[:2000] for part in load_images(options.data, train=False))
    else:
        data, rate = digits(), 0.01
        x, y, tx, ty = map(torch.from_numpy, (data.train_images, data.train_labels, data.test_images, data.test_labels))
        test = tx[:, None], ty
        net, x, y = trained_on_digits(name, seed)

    def passes(generator: torch.Generator) -> Iterator[tuple[Any, Any]]:
        while True:
            if name == "resnet20":
                yield from augmented(x, y, generator, options.batch)
            else:
                order = torch.randperm(len(x), generator=generator)
                yield from ((x[i], y[i]) for i in order.split(BATCH) if len(i) == BATCH)

    def score(model: torch.nn.Module) -> float:
        was = model.training
        model.eval()
        with torch.no_grad():
            right = sum(
                int((model(a).argmax(1) == b).sum()) for a, b in zip(*(t.split(500) for t in test), strict=True)
            )
        model.train(was)
        return 100.0 * right / len(test[1])

    search = fx.Search(
        net,
        x[:BATCH],
        "torch-x86",
        mpq.Budget(average_weight_bits=options.bits),
        method,
        activation_bits=8,
        per_channel=False,
        calibration=x[:512].split(BATCH),
        steps=options.steps,
        epoch_steps=len(x) // (options.batch if name == "resnet20" else BATCH),
        seed=seed,
        record_every=1,
    )
    optimizer = torch.optim.SGD(search.parameter_groups(rate), momentum=0.9)
    stream = passes(torch.Generator().manual_seed(seed))
    for _ in range(options.steps):
        a, b = next(stream)
        (F.cross_entropy(search.model(a), b) + search.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        search.step()
    records, searched = search.history.records, score(search.model)
    at = settling_step(trainable(method), options.steps) or options.steps
    recipe = search.harden()
    own = search.plan.costs_of({s: round(b) for s, b in records[-1].bits.items()})[RESOURCE]
    accuracies = score(net), searched, score(search.model)
    still_open = undecided(records[at - 1].bits, {name: slot.bits for name, slot in search.plan.slots.items()})
    return Outcome(records[at - 1].resources[RESOURCE], still_open, own, accuracies, recipe)


def keras_outcome(name: str, method: str, options: argparse.Namespace, seed: int) -> Outcome:
    """A search with mpq_tfmot.SearchCallback in fit."""
    import tensorflow_model_optimization as tfmot

    import mpq_tfmot
    from mpq_tfmot.keras import keras

    layers, data = keras.layers, digits()
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((8, 8, 1))
    for filters, stride in ((16, 1), (32, 2), (32, 1)):
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    net = keras.Model(inputs, layers.Dense(10)(layers.Dense(32, activation="relu")(layers.Flatten()(x))))
    images, labels = data.train_images[..., None], data.train_labels
    per_epoch = len(images) // BATCH
    images, labels = images[: per_epoch * BATCH], labels[: per_epoch * BATCH]

    def compiled(model: Any, optimizer: Any) -> Any:
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    def score(model: Any) -> float:
        found = model.predict(data.test_images[..., None], verbose=0).argmax(-1)
        return 100.0 * float(np.mean(found == data.test_labels))

    compiled(net, keras.optimizers.Adam(3e-3)).fit(images, labels, BATCH, 8, verbose=0)
    before = score(net)
    bits = (2, 3, 4, 5, 6, 8)
    scheme = mpq_tfmot.QuantizeScheme(method=method, weight_bits=bits, activation_bits=8)
    with mpq_tfmot.quantize_scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(net)
        trained = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    compiled(trained, keras.optimizers.SGD(0.005, momentum=0.9))
    epochs = -(-options.steps // per_epoch)
    budget = mpq.Budget(average_weight_bits=options.bits)
    callback = mpq_tfmot.SearchCallback(budget, record_every=1)
    trained.fit(images, labels, BATCH, epochs, verbose=0, callbacks=[callback])
    searched, records = score(trained), callback.history.records
    at = settling_step(trainable(method), epochs * per_epoch) or 1
    recipe = mpq_tfmot.harden(trained)
    return Outcome(
        records[at - 1].resources[RESOURCE],
        undecided(records[at - 1].bits, {entry.site: bits for entry in recipe.weights}),
        records[-1].resources[RESOURCE],
        (before, searched, score(trained)),
        recipe,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table row for every network, method and seed, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["mlp", "depthwise", "residual", "keras"])
    parser.add_argument("--methods", nargs="+", default=["hmq", "sdq", "fdqmp"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--bits", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=32, help="images of a step, for resnet20")
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10 and the checkpoints, for resnet20")
    options = parser.parse_args(arguments)
    print("| " + " | ".join(HEADINGS) + " |\n|" + "---|" * len(HEADINGS), flush=True)
    for name in options.networks:
        for method in options.methods:
            for seed in range(options.first, options.first + options.seeds):
                started = time.perf_counter()
                found = (keras_outcome if name == "keras" else torch_outcome)(name, method, options, seed)
                used = [
                    100 * cost / options.bits for cost in (found.settling, found.own, found.recipe.average_weight_bits)
                ]
                shares = [f"{share:.1f}" for share in used]
                shares.insert(1, str(found.open))
                accuracies = [f"{value:.1f}" for value in found.accuracies]
                lost = f"{found.accuracies[1] - found.accuracies[2]:.1f}"
                bits = " ".join(str(entry.grid.bits) for entry in found.recipe.weights)
                seconds = f"{time.perf_counter() - started:.0f}"
                row = (
                    name,
                    method,
                    str(options.steps),
                    str(seed),
                    *shares,
                    *accuracies,
                    lost,
                    str(found.moved),
                    bits,
                    seconds,
                )
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()

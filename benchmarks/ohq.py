"""Bits chosen by measured latency (method ohq): accuracy against latency against bytes, predicted beside re-measured.

    python -m benchmarks.ohq --data DIR [--models resnet20 resnet8 mobilenet] [--images N] [--kept]

DIR is laid out as for benchmarks.cifar_ptq and benchmarks.mlperf_tiny_ptq. ResNet-20 runs on torch's x86
engine, ResNet8 and MobileNetV1 0.75 in LiteRT with XNNPACK, one thread each. Rows: uniform 8 bits, uniform 4
bits (weights and activations), and ohq (weights of 4, 6 or 8 bits, activations of 4 or 8, at most 5 bits per weight)
at three latency limits between the fastest and the slowest choice. "predicted": the sum over operators, by the
table that the search had; "summed again": by another one, measured after the models; "measured": the converted
model as a whole, all models of a table in interleaved rounds. Last, for the ResNets, what an analytic bit array makes
of such searches; accuracies there are simulated, of the first 1,000 images.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

import mpq_plugins as mpq
from mpq_plugins.allocation.allocator import smallest_cost
from mpq_plugins.allocation.choices import arrange
from mpq_plugins.builtin.bit_array import NAME as ANALYTIC
from mpq_plugins.costs.cost_models import COST_MODELS, cost_of
from mpq_plugins.inventory import Inventory
from mpq_plugins.latency.clock import Timing
from mpq_plugins.papers.ohq import Ohq
from mpq_plugins.search_input import Problem
from mpq_plugins.sensitivity.masking import MaskGuided
from mpq_plugins.sensitivity.rating import Rates

WEIGHTS, ACTIVATIONS = (4, 6, 8), (4, 8)
AVERAGE_BITS = 5.0
ANALYTIC_BITS = (2, 4, 8)
PARTS = (0.05, 0.4, 1.0)
"""The latency limits, between the least and the most that the budget of bits leaves."""
ROUNDS = 15
SIMULATED = 1000
"""Images on which the choices for the analytic array are simulated."""
HEADINGS = (
    "model",
    "target",
    "choice",
    "limit ms",
    "predicted ms",
    "summed again ms",
    "measured ms",
    "predicted / measured",
    "top-1 %",
    "weight bytes",
)


@dataclass
class Once:
    """A sensitivity that is measured once and then remembered: the limits of a table ask for it again and again."""

    measure: MaskGuided
    name: str = "mask"
    rates: Rates | None = None

    def rate(self, problem: Problem, sites: Sequence[mpq.Site]) -> Rates:
        """What the first call has found; the candidates of all calls must be the same."""
        if self.rates is None:
            self.rates = self.measure.rate(problem, sites)
        return self.rates


@dataclass(frozen=True)
class Case:
    """One model, and what its adapter does with it.

    search: like ``fx.search`` after model and calibration. deployed: a converted model of a recipe, which
    ``accuracy`` scores and ``time`` times, several at once. simulated: the accuracy of a recipe that nothing
    here runs, by simulation of SIMULATED images; None where that takes too long, and the analytic array is left out.
    seeds: of the mask-guided sensitivity.
    """

    name: str
    target: str
    inventory: Inventory
    measure: Callable[..., mpq.LatencyTable]
    search: Callable[..., mpq.Recipe]
    deploy: Callable[[mpq.Recipe], Any]
    accuracy: Callable[[Any], float]
    time: Callable[[Mapping[str, Any]], dict[str, Timing]]
    simulated: Callable[[mpq.Recipe], float] | None = None
    seeds: int = 2


def torch_case(data: Path, images: int | None) -> Case:
    """ResNet-20 on torch's x86 engine."""
    import torch

    from benchmarks.cifar import accuracy, load_images, load_model
    from mpq_torch import fx
    from mpq_torch.torch_ao.engine import quantized_engine

    torch.set_num_threads(1)
    model = load_model("resnet20", data)
    calibration = load_images(data, train=True)[0][:256].split(64)
    test, labels = (part[:images] for part in load_images(data, train=False))
    example = test[:1]

    def score(int8: Any) -> float:
        with quantized_engine("x86"):
            return accuracy(int8, test, labels)

    return Case(
        "ResNet-20",
        "torch-x86",
        fx.inventory(model, example),
        lambda target, **rest: fx.measure_latency(model, example, target, **rest),
        lambda target, budget, **rest: fx.search(model, calibration, target, budget, **rest),
        lambda recipe: fx.quantize(model, recipe, example, calibration),
        score,
        lambda models: fx.time_models(models, example, rounds=ROUNDS),
        lambda recipe: accuracy(
            fx.simulate(fx.constrain(model, recipe, calibration), recipe), test[:SIMULATED], labels[:SIMULATED]
        ),
    )


def litert_case(name: str, data: Path, images: int | None) -> Case:
    """ResNet8 or MobileNetV1 0.75 in LiteRT with XNNPACK."""
    import mpq_tfmot
    from benchmarks.keras_models import TASKS
    from mpq_plugins.exporters.litert.running import run_litert

    task = TASKS[name](data, 128 if name == "resnet8" else 64)
    test, labels = task.images[:images], task.labels[:images]

    def score(flat: bytes) -> float:
        return 100.0 * float(np.mean(run_litert(flat, test)[0].argmax(1) == labels))

    def deploy(recipe: mpq.Recipe) -> bytes:
        return mpq_tfmot.litert.export(mpq_tfmot.constrain(task.model, recipe, task.calibration), recipe)

    def simulated(recipe: mpq.Recipe) -> float:
        simulation = mpq_tfmot.simulate(mpq_tfmot.constrain(task.model, recipe, task.calibration), recipe)
        return 100.0 * float(np.mean(simulation.predict(test[:SIMULATED]).argmax(1) == labels[:SIMULATED]))

    return Case(
        {"resnet8": "ResNet8", "mobilenet": "MobileNetV1 0.75"}[name],
        "litert-po2",
        mpq_tfmot.inventory(task.model),
        lambda target, **rest: mpq_tfmot.measure_latency(task.model, None, target, **rest),
        lambda target, budget, **rest: mpq_tfmot.search(task.model, task.calibration, target, budget, **rest),
        deploy,
        score,
        lambda flats: mpq_tfmot.time_models(flats, rounds=ROUNDS),
        simulated if name == "resnet8" else None,
        2 if name == "resnet8" else 1,
    )


def recipes_of(
    case: Case, target: str, table: mpq.LatencyTable, weights: Sequence[int], activations: Sequence[int]
) -> dict[str, tuple[float | None, mpq.Recipe]]:
    """Choice -> (latency limit, recipe): uniform 8, uniform 4, and ohq at three limits."""
    uniform = {
        f"uniform {bits}": (None, case.search(target, None, weight_bits=bits, activation_bits=bits, latency=table))
        for bits in (8, 4)
    }
    options = {"weight_bits": tuple(weights), "activation_bits": tuple(activations), "latency": table}
    ends = [cost_of(table, case.inventory, bits) for bits in _extremes(case.inventory, weights, activations)]
    least = _least(case, table, weights, activations)
    found: dict[str, tuple[float | None, mpq.Recipe]] = dict(uniform)
    method = Ohq(measure=Once(MaskGuided(seeds=case.seeds, gain="noise")))
    for part in PARTS:
        limit = least + part * (max(ends) - least)
        budget = mpq.Budget(average_weight_bits=AVERAGE_BITS, latency_ms=limit)
        found[f"ohq {part:.0%}"] = (limit, case.search(target, budget, method=method, **options))
    return found


def _extremes(inventory: Inventory, weights: Sequence[int], activations: Sequence[int]) -> list[dict[str, int]]:
    """All sites at every pair of one width for weights and one for activations."""
    return [{s.name: w if s.kind == "weight" else a for s in inventory} for w in weights for a in activations]


def _least(case: Case, table: mpq.LatencyTable, weights: Sequence[int], activations: Sequence[int]) -> float:
    """The least latency that the budget of bits leaves."""
    bits = {s.name: weights if s.kind == "weight" else activations for s in case.inventory}
    losses = {name: [0.0] * len(options) for name, options in bits.items()}
    limits = {"average_weight_bits": AVERAGE_BITS}
    models = {"average_weight_bits": COST_MODELS["average_weight_bits"], "latency_ms": table}
    least = smallest_cost(arrange(case.inventory, bits, losses, models), "latency_ms", limits)
    assert least is not None
    return least


def rows(case: Case, again: bool) -> list[tuple[str, ...]]:
    """The table of one model on its own runtime."""
    table = case.measure(case.target, weight_bits=WEIGHTS, activation_bits=ACTIVATIONS, rounds=ROUNDS, again=again)
    recipes = recipes_of(case, case.target, table, WEIGHTS, ACTIVATIONS)
    models = {name: case.deploy(recipe) for name, (_, recipe) in recipes.items()}
    timings = case.time(models)
    after = case.measure(case.target, weight_bits=WEIGHTS, activation_bits=ACTIVATIONS, rounds=ROUNDS, again=True)
    found = []
    for name, (limit, recipe) in recipes.items():
        predicted, timing = recipe.costs["latency_ms"], timings[name]
        summed = cost_of(after, case.inventory, {site: grid.bits for site, grid in recipe.items()})
        found.append(
            (
                case.name,
                case.target,
                name,
                "-" if limit is None else f"{limit:.4f}",
                f"{predicted:.4f}",
                f"{summed:.4f}",
                f"{1e3 * timing.seconds:.4f} +- {1e3 * timing.spread:.4f}",
                f"{predicted / (1e3 * timing.seconds):.3f}",
                f"{case.accuracy(models[name]):.2f}",
                f"{recipe.weight_bytes:,.0f}",
            )
        )
    return found


def analytic_rows(case: Case) -> list[tuple[str, ...]]:
    """The same on the analytic bit array, where fewer bits are faster; none where its accuracy is not simulated."""
    if case.simulated is None:
        return []
    table = case.measure(ANALYTIC, weight_bits=ANALYTIC_BITS, activation_bits=(4, 8))
    recipes = recipes_of(case, ANALYTIC, table, ANALYTIC_BITS, (4, 8))
    return [
        (
            case.name,
            ANALYTIC,
            name,
            "-" if limit is None else f"{limit:.4f}",
            f"{recipe.costs['latency_ms']:.4f}",
            "-",
            "-",
            "-",
            f"{case.simulated(recipe):.2f}",
            f"{recipe.weight_bytes:,.0f}",
        )
        for name, (limit, recipe) in recipes.items()
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table row per choice, each model's as they are done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives and the models")
    parser.add_argument("--models", nargs="+", choices=["resnet20", "resnet8", "mobilenet"])
    parser.add_argument("--images", type=int, help="score this many images only")
    parser.add_argument("--kept", action="store_true", help="take timings of earlier runs where there are any")
    chosen = parser.parse_args(arguments)
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    for name in chosen.models or ("resnet20", "resnet8", "mobilenet"):
        case = (
            torch_case(chosen.data, chosen.images)
            if name == "resnet20"
            else litert_case(name, chosen.data, chosen.images)
        )
        for cells in (*rows(case, not chosen.kept), *analytic_rows(case)):
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

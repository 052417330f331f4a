"""Random networks of both frameworks on every runtime: how many are exact, refused, and by what reason, or wrong.

    python -m benchmarks.random_networks [--torch 320] [--keras 120] [--first 0] [--runtimes NAME ...]

Each network, of the generators that the adapters' tests use, gets bits drawn from all that the target has, site by
site, steps from a quarter of what its largest value needs to four times as coarse, and weights of any magnitude. It is
constrained, with compensation in every other case, converted, and run on inputs inside and far outside of its ranges;
every output is compared with the simulation, and so is what the integer program of it gives. Exits with 1 where a
number is wrong or something fails without an error of ours.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins import Grid, Recipe, plugins
from mpq_plugins.errors import MPQError, VerificationError
from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.sites import GraphSites
from mpq_plugins.graph.weights import as_framework
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Site

LOWERED = "torch-pt2e-x86"
"""A target whose converted graph is lowered to inductor's kernels, for one number of samples."""
TORCH = (
    "torch-x86",
    "torch-onednn",
    "torch-qnnpack",
    "torch-pt2e",
    LOWERED,
    "onnxruntime",
    "litert-po2",
    "litert-po2-reference",
    "litert-po2-optimized",
)
KERAS = ("litert-po2", "litert-po2-reference", "litert-po2-optimized", "onnxruntime")
SHIFTS = (0, 0, 0, 0, 1, -1, 2, -2)
INTEGERS = "integers"
EXACT, REFUSED, WRONG = "exact", "refused", "wrong"


@dataclass(frozen=True)
class Outcome:
    """What one network gave on one runtime. kind: EXACT, REFUSED or WRONG; reason: in words, where it is not exact."""

    runtime: str
    kind: str
    reason: str = ""


def drawn_recipe(
    graph: Graph,
    sites: GraphSites,
    runner: Runner,
    arguments: Sequence[Any],
    target: Target,
    rng: np.random.Generator,
    spread: bool = True,
) -> Recipe:
    """A recipe of bits that the target has and of steps about those that fit the largest values.

    spread: whether steps are up to four times as fine or as coarse as these. Raises UnsupportedOp for an op that the
    target does not have.
    """
    values = run_nodes(graph, arguments, FloatModel(graph, runner).step)
    largest: dict[str, float] = {}
    for node, name in sites.grid_of.items():
        largest[name] = max(largest.get(name, 0.0), float(np.abs(runner.numpy(values[node])).max()))
    weights = {node.weight_site: as_framework(node, graph.layout) for node in graph.layers}
    groups: dict[str, list[Site]] = {}
    for site in sites.inventory:
        groups.setdefault(site.group or site.name, []).append(site)
    grids = {}
    shifts = SHIFTS if spread else (0,)
    for members in groups.values():
        shift = int(rng.choice(shifts))
        if members[0].kind == "weight":
            grids[members[0].name] = _weight_grid(weights[members[0].name], members[0], target, rng, shift)
            continue
        signed = members[0].signed
        allowed = [{c.bits for c in target.activation_candidates(site.op, signed)} for site in members]
        bits = int(rng.choice(sorted(set.intersection(*allowed))))
        exponent = _exponent(max(largest[site.name] for site in members)) + shift
        grids |= {site.name: Grid.power_of_two(bits, exponent, signed) for site in members}
    return Recipe.from_inventory(sites.inventory, grids, target.name, "drawn at random")


def _weight_grid(weight: NDArray[Any], site: Site, target: Target, rng: np.random.Generator, shift: int) -> Grid:
    candidates = target.weight_candidates(site.op)
    kind = candidates[int(rng.integers(len(candidates)))]
    magnitudes = np.abs(weight)
    if not kind.per_channel or site.channel_axis is None:
        return Grid.power_of_two(kind.bits, _exponent(float(magnitudes.max())) + shift)
    others = tuple(axis for axis in range(weight.ndim) if axis != site.channel_axis)
    exponents = [_exponent(float(value)) + shift for value in magnitudes.max(axis=others)]
    return kind.grid(exponents, site.channel_axis)


def _exponent(largest: float) -> int:
    return math.ceil(math.log2(largest + 1e-9))


def torch_outcomes(seed: int, runtimes: Sequence[str]) -> Iterator[Outcome]:
    """A random torch network on each runtime."""
    import torch

    from mpq_plugins.graph.sites import take_sites
    from mpq_plugins.search.signs import signed_inputs
    from mpq_torch.plugin import commands
    from mpq_torch.reader.reading import read_model
    from mpq_torch.tests.random_networks import RandomNetwork

    rng = np.random.default_rng(seed)
    model = RandomNetwork(seed).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10 ** rng.uniform(-1, 1))
    scale = 10 ** rng.uniform(-2, 2)
    x = torch.randn(8, *model.input_shape) * scale
    x = x.abs() if rng.random() < 0.4 else x
    batches = [(x,), (torch.randn(3, *model.input_shape) * scale * 10,), (torch.full_like(x[:1], 1e6 * scale),)]

    def drawn(target: Target) -> Recipe:
        reading = read_model(model, (x,))
        sites = take_sites(reading.graph, signed_inputs(reading.graph, reading.runner, (x,)))
        with torch.no_grad():
            return drawn_recipe(reading.graph, sites, reading.runner, (x,), target, np.random.default_rng(seed))

    yield from _outcomes(commands, model, batches, drawn, runtimes, compensated=seed % 2 == 0)


def keras_outcomes(seed: int, runtimes: Sequence[str]) -> Iterator[Outcome]:
    """A random Keras network on each runtime."""
    from mpq_plugins.graph.sites import take_sites
    from mpq_tfmot.keras import keras, tf
    from mpq_tfmot.plugin import commands
    from mpq_tfmot.reader.reading import read_model
    from mpq_tfmot.tests.random_networks import random_network

    rng = np.random.default_rng(seed)
    keras.backend.clear_session()
    model = random_network(seed)
    model.set_weights([weight * np.float32(10 ** rng.uniform(-1, 1)) for weight in model.get_weights()])
    shape, scale = model.input_shape[1:], 10 ** rng.uniform(-2, 2)
    x = (rng.normal(size=(8, *shape)) * scale).astype(np.float32)
    far = (rng.normal(size=(3, *shape)) * scale * 10).astype(np.float32)
    batches = [(x,), (far,), (np.full_like(x[:1], 1e6 * scale),)]

    def drawn(target: Target) -> Recipe:
        reading = read_model(model)
        sites = take_sites(reading.graph)
        arguments = (tf.constant(x),)
        return drawn_recipe(
            reading.graph, sites, reading.runner, arguments, target, np.random.default_rng(seed), spread=True
        )

    yield from _outcomes(commands, model, batches, drawn, runtimes, compensated=seed % 2 == 0)


def _outcomes(
    commands: Any, model: Any, batches: list[Any], drawn: Any, runtimes: Sequence[str], compensated: bool
) -> Iterator[Outcome]:
    for name in runtimes:
        made: dict[str, Any] = {}

        def converted(name: str = name, made: dict[str, Any] = made) -> Any:
            made["recipe"] = drawn(plugins.target(name))
            made["model"] = commands.constrain(model, made["recipe"], batches[:1]) if compensated else model
            if name == LOWERED:
                return _lowered(made["model"], made["recipe"], batches)
            return commands.verify(made["model"], made["recipe"], batches)

        def program(made: dict[str, Any] = made) -> Any:
            return commands.integers(made["model"], made["recipe"], batches)[1]

        yield _judged(name, converted)
        if "model" in made:
            yield _judged(f"{name}, {INTEGERS}", program)


def _lowered(model: Any, recipe: Recipe, batches: list[Any]) -> Any:
    from mpq_torch import pt2e

    converted = pt2e.lower_to_x86(pt2e.quantize(model, recipe, batches[0]), batches[0])
    return pt2e.verify(converted, model, [batches[0], tuple(10 * x for x in batches[0])], recipe)


def _judged(runtime: str, verify: Any) -> Outcome:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            verify().raise_if_different()
    except VerificationError as error:
        return Outcome(runtime, WRONG, str(error))
    except MPQError as error:
        return Outcome(runtime, REFUSED, f"{type(error).__name__}: {error}")
    except Exception as error:
        return Outcome(runtime, WRONG, f"{type(error).__name__}: {error}")
    return Outcome(runtime, EXACT)


def kind_of(reason: str) -> str:
    """A reason without the names and the numbers of one network.

    >>> kind_of("GridError: site 'conv1': its step is 256 times 0.5 of its output; give it more")
    "GridError: site '…': its step is … times … of its output"
    """
    return re.sub(r"'[^']*'", "'…'", re.sub(r"\b\d[\w.+-]*|\b[\w.]*\d[\w.]*\b", "…", reason)).split(";")[0][:110]


def report(framework: str, outcomes: Sequence[Outcome]) -> None:
    """Print counts by runtime, and the reasons of what was refused."""
    counts = Counter((outcome.runtime, outcome.kind) for outcome in outcomes)
    for runtime in dict.fromkeys(outcome.runtime for outcome in outcomes):
        found = ", ".join(f"{counts[runtime, kind]} {kind}" for kind in (EXACT, REFUSED, WRONG))
        print(f"{framework:6} {runtime:32} {found}")
    reasons = Counter(kind_of(outcome.reason) for outcome in outcomes if outcome.kind == REFUSED)
    for reason, count in reasons.most_common():
        print(f"  refused {count} times: {reason}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", type=int, default=320, help="how many torch networks")
    parser.add_argument("--keras", type=int, default=120, help="how many Keras networks")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--runtimes", nargs="+", help="targets; by default every one that a framework has")
    asked = parser.parse_args(arguments)
    wrong = 0
    for framework, count, names, run in (
        ("torch", asked.torch, TORCH, torch_outcomes),
        ("keras", asked.keras, KERAS, keras_outcomes),
    ):
        chosen = [name for name in asked.runtimes or names if name in names]
        outcomes = []
        for seed in range(asked.first, asked.first + count):
            for outcome in run(seed, chosen):
                outcomes.append(outcome)
                if outcome.kind == WRONG:
                    wrong += 1
                    print(f"{framework} seed {seed} on {outcome.runtime} is wrong: {outcome.reason}", flush=True)
        if outcomes:
            report(framework, outcomes)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

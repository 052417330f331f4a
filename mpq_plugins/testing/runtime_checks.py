"""What a runtime must hold to: laws that are known, targets that agree, and one simulation in every framework."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins import plugins
from mpq_plugins.graph.layout import to_layout
from mpq_plugins.graph.node import Batch, Graph, Node
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.own_laws import laws_of, values
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.registered import check_runtime
from mpq_plugins.graph.runtimes import contradictions
from mpq_plugins.graph.runtimes.runtime import Runtime, name_of_law
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import ActivationGrids, OpSupport, WeightGrids
from mpq_plugins.hardware.target import Runtime as Named
from mpq_plugins.hardware.target import Target
from mpq_plugins.testing.nonconforming import Nonconforming, require, require_equal

EXACT = 1.0
"""How many codes a runtime may be from the real value: it rounds, or it rounds twice."""
SHAPE = (Batch(), 4)


def check_laws(table: Runtime) -> None:
    """Its laws and words are known ones."""
    wrong = check_runtime(table)
    require(wrong is None, f"runtime {_name(table)}: {wrong}")


def check_own_laws(table: Runtime, frameworks: Mapping[str, Any]) -> None:
    """A law of its own gives in every framework what it gives in NumPy."""
    for what, law in laws_of(table):
        wanted = np.asarray(values(what, law, NUMPY_RUNNER)[0])
        for name, framework in frameworks.items():
            word = f"runtime {_name(table)}: its {what} {name_of_law(law)}"
            try:
                run = framework.RUNNER
                given, _ = values(what, law, run, partial(run.tensor, precision="float64"))
                found = np.asarray(run.numpy(given))
            except Exception as error:
                raise Nonconforming(
                    f"{word} runs in NumPy and not in {name}: {type(error).__name__}: {error}; use the runner's "
                    "functions and operators alone"
                ) from error
            require_equal(found, wanted, f"{word} in {name} is not that of NumPy")


def check_targets(table: Runtime) -> None:
    """The targets that name it round as it does."""
    for target in plugins.targets().values():
        named = target.runtime
        if named is not None and (named.framework, named.engine) == (table.framework, table.engine):
            found = contradictions(target, table)
            require(not found, f"runtime {_name(table)}: target {target.name!r} rounds otherwise: {found}")


def check_simulation(table: Runtime, frameworks: Mapping[str, Any]) -> None:
    """Layers, sums and products are within a code of their real values, alike in all frameworks and batch sizes."""
    x = np.arange(-16, 16, dtype=np.float32).reshape(8, 4) * 0.25
    for bits in (8, 4):
        quantized = _network(table, bits)
        found: dict[str, dict[str, NDArray[Any]]] = {}
        for name, framework in frameworks.items():
            word = f"runtime {_name(table)} at {bits} bits in {name}"
            try:
                whole, alone = (_codes(quantized, framework, x[rows]) for rows in (slice(None), slice(3, 4)))
            except Exception as error:
                raise Nonconforming(f"{word}: its simulation fails: {type(error).__name__}: {error}") from error
            for site, codes in whole.items():
                require_equal(alone[site], codes[3:4], f"{word}: {site} of one sample depends on the batch")
                if site != "x":
                    _near(quantized, site, whole, word)
            found[name] = whole
        first = next(iter(found), "")
        for name, sites in found.items():
            for site, codes in sites.items():
                require_equal(
                    codes,
                    found[first][site],
                    f"runtime {_name(table)} at {bits} bits: {site} in {name} is not that of {first}",
                )


def _network(table: Runtime, bits: int) -> QuantizedGraph:
    """A layer, the sum of its output and its input, and the product of both, on grids of so many bits."""
    weight = np.linspace(-0.9, 0.8, 16).reshape(4, 4)
    nodes = (
        Node("x", "argument", (), SHAPE, attrs={"index": 0}),
        Node("x__input", "input", ("x",), SHAPE),
        Node("fc", "linear", ("x__input",), SHAPE, weight, np.linspace(-1.0, 1.0, 4)),
        Node("sum", "add", ("fc", "x__input"), SHAPE),
        Node("product", "mul", ("fc", "x__input"), SHAPE),
    )
    graph = Graph(nodes, ("sum", "product"), "NCHW")
    sites = take_sites(graph)
    grids = {"x": Grid.power_of_two(bits, 2), "fc.weight": Grid.power_of_two(bits, 0)}
    grids |= {name: Grid.power_of_two(bits, 3) for name in ("fc", "sum", "product")}
    every = OpSupport(weight=WeightGrids(), activation=ActivationGrids(), bias="accumulator")
    target = Target(name="of-the-kit", ops={"*": every}, runtime=Named(framework=table.framework, engine=table.engine))
    return QuantizedGraph.of(graph, sites, grids, target)


def _codes(quantized: QuantizedGraph, framework: Any, x: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    graph = to_layout(quantized.graph, framework.RUNNER.layout)
    here = QuantizedGraph(graph, quantized.grids, quantized.grid_of, quantized.target)
    values = Simulation(here, framework.RUNNER).sites([framework.tensor(x)])
    return {
        site: np.asarray(framework.RUNNER.numpy(value)) / quantized.grids[site].step for site, value in values.items()
    }


def _near(quantized: QuantizedGraph, site: str, codes: Mapping[str, NDArray[Any]], word: str) -> None:
    """Raise Nonconforming unless a site is its real value from what it reads, within a code and the ends."""
    node, grid = quantized.graph[site], quantized.grids[site]
    values = {name: found * quantized.grids[name].step for name, found in codes.items()}
    if node.weight is not None:
        real = values["x"] @ node.weight.T + node.biases
    else:
        real = values["fc"] + values["x"] if node.op == "add" else values["fc"] * values["x"]
    wanted = np.clip(real / grid.step, grid.low, grid.high)
    off = float(np.abs(codes[site] - wanted).max())
    require(off <= EXACT, f"{word}: {site} ({node.op}) is {off:g} codes from its real value; it may be {EXACT:g}")


def _name(table: Runtime) -> str:
    return f"{table.framework}.{table.engine}"

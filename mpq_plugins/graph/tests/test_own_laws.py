"""A runtime may compute by functions of its own: tried where they are registered, and simulated as they are."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from mpq_plugins import Grid, Target, UnsupportedOp
from mpq_plugins.graph import kernels
from mpq_plugins.graph.node import Batch, Graph, Node
from mpq_plugins.graph.numpy_runner import NumpyRunner
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.registered import check_runtime
from mpq_plugins.graph.runtimes.runtime import Runtime
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.integers.from_graph import program_of
from mpq_plugins.registry import known, using


def half_down(run: Any, x: Any) -> Any:
    """Exact halves to the smaller whole number."""
    return -run.floor(-x + 0.5)


def add_truncated(run: Any, a: Any, b: Any, grids: Any, grid: Any, rounding: Any) -> Any:
    """The sum, cut off toward minus infinity, as a plain shift does."""
    return run.floor((a * grids[0].step + b * grids[1].step) / grid.step)


NPU = Runtime("acme", "npu3", rounding={"*": half_down}, sums=add_truncated)
SHAPE = (Batch(), 1)


class Elements(NumpyRunner):
    """What sums need of a framework."""

    layout = "NCHW"

    def to_precision(self, x: Any, precision: str) -> Any:
        return np.asarray(x, precision)


def test_codes_are_rounded_and_added_by_the_runtime_s_own_functions() -> None:
    nodes = (
        Node("x", "argument", (), SHAPE, attrs={"index": 0}),
        Node("x__input", "input", ("x",), SHAPE),
        Node("sum", "add", ("x__input", "x__input"), SHAPE),
    )
    graph = Graph(nodes, ("sum",), "NCHW")
    grids = {"x": Grid.power_of_two(6, 0), "sum": Grid.power_of_two(6, 3)}
    target = Target(name="npu3", ops={"*": {"activation": {}}}, runtime={"framework": "acme", "engine": "npu3"})
    halves = np.arange(-60, 60)  # of the input's step: every other one is a tie
    with using(known().with_more({}, {("acme", "npu3"): NPU})):
        quantized = QuantizedGraph(graph, grids, {"x__input": "x", "sum": "sum"}, target)
        x = (halves / 2 * grids["x"].step).reshape(-1, 1).astype(np.float32)
        found = Simulation(quantized, Elements()).run([x])
        with pytest.raises(UnsupportedOp, match=r"a program of integers knows .*; sum by half_down, add_truncated"):
            program_of(quantized, "npu", "numpy")
    entered = [-((-int(half) + 1) // 2) for half in halves]
    assert found["x__input"][:, 0].tolist() == entered
    assert found["sum"][:, 0].tolist() == [2 * code // 8 for code in entered]


WRONG = {
    "no whole number": (lambda run, x: x, r"gives -129\.875, which is no whole number"),
    "two codes away": (lambda run, x: run.floor(x) - 1.0, "a code or more away"),
    "no function of the runner": (lambda run, x: run.nothing(x), "fails in NumPy: AttributeError"),
    "of another shape": (lambda run, x: run.floor(x)[:3], r"gives an array of shape \(3,\)"),
    "of all values": (
        lambda run, x: run.floor(x + 0.5) if x.shape[0] > 1 else run.floor(x),
        "for one value than for many",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_law_that_does_not_round_is_refused_with_what_it_gives(name: str) -> None:
    law, message = WRONG[name]
    found = check_runtime(Runtime("acme", "npu3", rounding={"*": law}))
    assert re.search(message, str(found)), found


def test_averages_and_means_are_words_alone() -> None:
    assert "whose laws are words alone" in str(check_runtime(Runtime("acme", "npu3", means=half_down)))  # type: ignore[arg-type]
    assert check_runtime(NPU) is None


def test_a_list_names_them() -> None:
    assert kernels.rounds(all_ops()["add"], NPU) == "half_down"
    assert kernels.law(all_ops()["add"], NPU) == "add_truncated"

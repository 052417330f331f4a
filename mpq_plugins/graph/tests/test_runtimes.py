"""What runtimes do differently is in their tables, and no target says otherwise."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from mpq_plugins import Grid, Target, TargetError, hookimpl, plugins
from mpq_plugins.errors import PluginError
from mpq_plugins.graph.node import Batch, Graph, Node
from mpq_plugins.graph.numpy_runner import NumpyRunner
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runtimes import all_runtimes, check_rounding, rounding_of, rule
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.integers import input_codes, run
from mpq_plugins.integers.from_graph import program_of
from mpq_plugins.plugins import PluginHost

RULES = ("half_even", "half_up", "half_away")
RUNTIMES = list(all_runtimes())


def target_of(runtime: tuple[str, str] | None, **ops: Any) -> Target:
    named = None if runtime is None else {"framework": runtime[0], "engine": runtime[1]}
    return Target(name="npu", ops={"*": {"activation": {}}, **ops}, runtime=named)


@pytest.mark.parametrize("runtime", RUNTIMES, ids="-".join)
@pytest.mark.parametrize("op", ["input", "conv2d", "add", "avg_pool", "hardswish"])
@pytest.mark.parametrize("said", RULES)
def test_a_target_that_contradicts_its_runtime_is_refused_with_op_rule_and_runtime(
    runtime: tuple[str, str], op: str, said: Any
) -> None:
    target = target_of(runtime, **{op: {"rounding": said}})
    does = rule(all_runtimes()[runtime], op)
    if said == does:
        check_rounding(target)
        return
    message = rf"target 'npu' rounds {op} {said} \(the runtime: {does}\), and its runtime, {runtime[0]}'s {runtime[1]}"
    with pytest.raises(TargetError, match=message):
        check_rounding(target)


def test_the_defaults_of_a_target_are_held_to_every_op_of_its_runtime() -> None:
    target = target_of(("torch", "qnnpack"), **{"*": {"activation": {}, "rounding": "half_even"}})
    with pytest.raises(TargetError, match=r"rounds add half_even \(the runtime: half_away\), and"):
        check_rounding(target)


def test_a_target_that_contradicts_its_runtime_is_refused_wherever_it_comes_from(tmp_path: Any) -> None:
    wrong = target_of(("tfmot", "xnnpack"), add={"rounding": "half_even"})
    wrong.save(tmp_path / "npu.json")

    class Plugin:
        @hookimpl
        def mpq_register_targets(self, register: Any) -> None:
            register(wrong)

    host = PluginHost((), entry_points=[], environment={})
    with pytest.raises(PluginError, match=r"add half_even .*tfmot's xnnpack"):
        host.register(Plugin(), "acme")
    for given in (wrong, tmp_path / "npu.json", str(tmp_path / "npu.json")):
        with pytest.raises(TargetError, match=r"add half_even .*tfmot's xnnpack"):
            host.target(given)


@pytest.mark.parametrize("runtime", RUNTIMES, ids="-".join)
def test_a_target_that_says_nothing_rounds_as_its_runtime_does(runtime: tuple[str, str]) -> None:
    target = target_of(runtime)
    check_rounding(target)
    for op in ("input", "linear", "add", "avg_pool", "global_avg_pool", "lookup"):
        assert rounding_of(target, op) == rule(all_runtimes()[runtime], op)


def test_every_target_of_ours_says_what_its_runtime_does() -> None:
    for target in plugins.targets().values():
        check_rounding(target)
        assert all(rounding_of(target, op) == target.rounding(op) for op in target.ops)


class Images(NumpyRunner):
    """What averages need of a framework, for windows side by side in a row."""

    layout = "NCHW"

    def to_precision(self, x: Any, precision: str) -> Any:
        return np.asarray(x, precision)

    def window_sum(self, x: Any, kernel: Any, stride: Any, padding: Any) -> Any:
        return x.reshape(*x.shape[:3], -1, kernel[1]).sum(-1)

    def sum_over(self, x: Any, axes: Any, keepdims: bool) -> Any:
        return x.sum(axes, keepdims=keepdims)


def by_rule(value: Fraction, rounding: str) -> int:
    floor = math.floor(value)
    if value - floor != Fraction(1, 2):
        return round(value)
    return {"half_even": round(value), "half_up": floor + 1, "half_away": floor + (value > 0)}[rounding]


@pytest.mark.parametrize("rounding", RULES)
def test_hardware_of_ones_own_rounds_inputs_averages_and_means_as_it_says(rounding: Any) -> None:
    batch, grid = Batch(), Grid.power_of_two(8, 0)
    window = {"kernel": (1, 2), "stride": (1, 2), "padding": ((0, 0), (0, 0)), "overhang": (0, 0)}
    graph = Graph(
        (
            Node("x", "argument", (), (batch, 1, 1, 4), attrs={"index": 0}),
            Node("x__input", "input", ("x",), (batch, 1, 1, 4)),
            Node("pool", "avg_pool", ("x__input",), (batch, 1, 1, 2), attrs=window | {"counts_padding": True}),
            Node("mean", "global_avg_pool", ("pool",), (batch, 1), attrs={"axes": (2, 3), "keepdims": False}),
        ),
        ("mean",),
        "NCHW",
    )
    grids = {"x": grid}
    owners = dict.fromkeys(["x__input", "pool", "mean"], "x")
    target = target_of(None, **{"*": {"activation": {}, "rounding": rounding}})
    quantized = QuantizedGraph(graph, grids, owners, target)
    codes = np.random.default_rng(0).integers(-255, 256, (500, 4))  # halves: every other value is a tie
    x = (codes / 2 * float(grid.steps[0])).reshape(-1, 1, 1, 4).astype(np.float32)
    entered = [[max(-128, min(127, by_rule(Fraction(int(c), 2), rounding))) for c in row] for row in codes]
    pooled = [[by_rule(Fraction(a + b, 2), rounding) for a, b in (row[:2], row[2:])] for row in entered]
    wanted = [by_rule(Fraction(a + b, 2), rounding) for a, b in pooled]
    assert Simulation(quantized, Images()).run([x])["mean"].reshape(-1).tolist() == wanted
    program = program_of(quantized, "m", "none")
    (found,) = run(program, input_codes(program, x)).values()
    assert found.reshape(-1).tolist() == wanted

"""Ops and runtimes of strangers: what is taken, what is refused, and that nothing of a failed plug-in stays."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mpq_plugins import PluginError, Target, TargetError, hookimpl
from mpq_plugins.graph.node import Batch, Graph, Node
from mpq_plugins.graph.op import Op, always, never
from mpq_plugins.graph.ops import all_ops, spelled
from mpq_plugins.graph.recognizing import recognized
from mpq_plugins.graph.runtimes import all_runtimes, rounding_of, runtime_of
from mpq_plugins.graph.runtimes.runtime import Runtime
from mpq_plugins.hardware.op_support import OpSupport
from mpq_plugins.plugins import PluginHost
from mpq_plugins.registry import Known, known, once_known, process, using

SQUARE = Op(
    "hump",
    lambda run, node, x: run.exp(-x * x),
    table=True,
    negative=never,
    spellings={"torch": ("acme.layers.hump",), "keras": ("hump",)},
)
TABLE = Runtime("acme", "npu2", rounding={"*": "half_up"}, sums="shared_shift", compositions={"hump": ()})
TABLE = replace(TABLE, compositions={})


def plugin(**hooks):
    return SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def each(*things):
    def offer(register):
        for thing in things:
            register(thing)

    return offer


@pytest.fixture
def host(monkeypatch):
    """A host of this process's own, with the built-ins alone, that nobody else sees."""
    host = PluginHost(entry_points=[], environment={})
    monkeypatch.setattr(process, "_host", [host])
    return host


def test_built_in_ops_and_runtimes_come_through_the_same_door(host):
    assert host.provider("ops", "conv2d").name == "builtin.ops"
    assert host.provider("runtimes", "tfmot.xnnpack").name == "builtin.runtimes"
    assert host.provider("sensitivities", "fisher").name == "builtin.sensitivities"
    assert host.ops() == all_ops()
    assert set(all_runtimes()) >= {("torch", "x86"), ("tfmot", "builtin"), ("onnxruntime", "cpu")}


def test_an_op_is_known_everywhere_once_it_is_registered(host):
    assert "hump" not in spelled("keras")
    host.register(plugin(mpq_register_ops=each(SQUARE)), "acme")
    assert spelled("keras")["hump"] is SQUARE
    assert host.op("hump") is SQUARE
    assert host.target("litert-po2").runs("hump")


def test_a_function_that_is_written_in_ops_is_recognized_as_a_plug_ins_record(host):
    shape = (Batch(), 4)
    nodes = (
        Node("x", "argument", (), shape, attrs={"index": 0}),
        Node("gate", "sigmoid", ("x",), shape),
        Node("both", "mul", ("x", "gate"), shape),
        Node("last", "tanh", ("both",), shape),
    )
    graph = Graph(nodes, ("last",), "NCHW")
    assert recognized(graph, None)["last"].op == "tanh"
    bent = Op("bent", lambda run, node, x: run.tanh(x * run.sigmoid(x)), table=True, negative=always)
    host.register(plugin(mpq_register_ops=each(bent)), "acme")
    assert recognized(graph, None)["last"].op == "bent"


def test_a_targets_runtime_may_come_with_it(host):
    target = Target(
        name="acme-npu2",
        ops={"*": OpSupport(activation={"bits": (8,)})},
        runtime={"framework": "acme", "engine": "npu2"},
    )
    host.register(plugin(mpq_register_runtimes=each(TABLE), mpq_register_targets=each(target)), "acme")
    assert runtime_of(host.target("acme-npu2")) is TABLE
    assert rounding_of(host.target("acme-npu2"), "add") == "half_up"


def test_a_target_that_contradicts_the_runtime_of_its_own_plug_in_is_refused_and_nothing_stays(host):
    target = Target(
        name="acme-npu2",
        ops={"*": OpSupport(activation={"bits": (8,)}, rounding="half_even")},
        runtime={"framework": "acme", "engine": "npu2"},
    )
    wrong = plugin(mpq_register_runtimes=each(TABLE), mpq_register_targets=each(target))
    with pytest.raises(PluginError, match=r"rounds .*add half_even \(the runtime: half_up\)"):
        host.register(wrong, "acme")
    assert ("acme", "npu2") not in all_runtimes()
    with pytest.raises(TargetError):
        host.target("acme-npu2")


def of(**changes):
    return replace(SQUARE, **changes)


NONSENSE = {
    "no op": ("mpq_register_ops", "hump", "build it with mpq_plugins.graph.op.Op"),
    "a class": ("mpq_register_ops", Op, "the class Op is no op"),
    "a word of graphs": ("mpq_register_ops", of(word="float"), "'float' is a word of graphs"),
    "a word of targets": ("mpq_register_ops", of(word="lookup"), "'lookup' is a word of graphs or of targets"),
    "a word that is taken": ("mpq_register_ops", of(word="mish"), "'mish' is registered already, by .*builtin.ops"),
    "no word": ("mpq_register_ops", of(word="two words"), "needs a name of letters"),
    "no function": ("mpq_register_ops", of(value=None), "its value is no function"),
    "no grid": ("mpq_register_ops", of(grid="none"), "its grid is one of own, input, all, alias"),
    "a taken spelling": (
        "mpq_register_ops",
        of(spellings={"torch": ("nn.Mish",)}),
        "torch's nn.Mish is the op 'mish' already",
    ),
    "a spelling as text": ("mpq_register_ops", of(spellings={"keras": "hump"}), "spellings are tuples of names"),
    "two inputs": ("mpq_register_ops", of(arity=2), "has arity 1, a grid of its own and no weight"),
    "a value that fails": (
        "mpq_register_ops",
        of(value=lambda run, node, x: run.cosh(x)),
        "its value fails in NumPy: AttributeError: .*cosh",
    ),
    "a sum": ("mpq_register_ops", of(value=lambda run, node, x: np.sum(x)), r"is an array of shape \(\)"),
    "integers": ("mpq_register_ops", of(value=lambda run, node, x: np.int8(x)), "and type int8"),
    "a pole": ("mpq_register_ops", of(value=lambda run, node, x: 1 / x), "its value at 0 is not finite"),
    "values below zero": (
        "mpq_register_ops",
        of(value=lambda run, node, x: x + 1.0),
        "nothing below zero comes out, and its value at -4 is -3",
    ),
    "no runtime": ("mpq_register_runtimes", "acme", "build it with mpq_plugins.graph.runtimes.runtime.Runtime"),
    "no engine": ("mpq_register_runtimes", replace(TABLE, engine=""), "needs a framework and an engine"),
    "an unknown rounding": (
        "mpq_register_runtimes",
        replace(TABLE, rounding={"*": "half_down"}),
        "rounds ties by half_down, which is none of half_even, half_up, half_away",
    ),
    "an unknown law": ("mpq_register_runtimes", replace(TABLE, means="halving"), "has means by halving"),
    "no accumulation": ("mpq_register_runtimes", replace(TABLE, accumulation={}), r"says nothing of '\*'"),
    "an unknown function": ("mpq_register_runtimes", replace(TABLE, lacks=("humph",)), "its lacks name 'humph'"),
    "a composition of nothing": (
        "mpq_register_runtimes",
        replace(TABLE, compositions={"silu": (("mul", ("input", "sigmoid")),)}),
        "step 'mul' of its silu is no op, or reads what no earlier step computes: input, sigmoid",
    ),
    "a runtime that is taken": (
        "mpq_register_runtimes",
        replace(TABLE, framework="torch", engine="x86"),
        "'torch.x86' is registered already",
    ),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused_with_what_is_wrong(case, host):
    hook, thing, message = NONSENSE[case]
    before = dict(all_ops())
    with pytest.raises(PluginError, match=message):
        host.register(plugin(**{hook: each(thing)}), "acme")
    assert all_ops() == before


def test_the_same_spelling_twice_in_one_plug_in_is_refused(host):
    with pytest.raises(PluginError, match="hump is the op 'hump' already"):
        host.register(plugin(mpq_register_ops=each(SQUARE, of(word="bump"))), "acme")


def test_a_misspelt_hook_names_the_closest(host):
    with pytest.raises(PluginError, match=r"mpq_register_runtime is no hook; did you mean mpq_register_runtimes\?"):
        host.register(plugin(mpq_register_runtime=each(TABLE)), "acme")


def test_what_is_kept_of_what_is_known_is_forgotten_with_another_plug_in():
    asked = []

    @once_known
    def count(of):
        asked.append(of)
        return len(known().ops)

    with using(Known({"a": SQUARE})):
        assert (count("x"), count("x"), count("y")) == (1, 1, 1)
    with using(Known({"a": SQUARE, "b": SQUARE})):
        assert count("x") == 2
    assert asked == ["x", "y", "x"]

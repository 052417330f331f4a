"""What an op or a runtime must be to be registered: checked once, so that what fails does so by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from mpq_plugins.array_ops.protocol import Array
from mpq_plugins.graph.node import BATCH_NORM, RAW, UNKNOWN, Node
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.own_laws import wrong_laws
from mpq_plugins.graph.runtimes.runtime import (
    LOOKUP,
    Accumulation,
    Average,
    Composition,
    Mean,
    Product,
    Runtime,
    Sum,
    inputs_of,
    name_of_law,
)
from mpq_plugins.hardware.op_support import Rounding
from mpq_plugins.registry import known

GRIDS = ("own", "input", "all", "alias")
RESERVED = (*RAW, UNKNOWN, BATCH_NORM, LOOKUP, "*")
"""Words that mean something else where ops are named."""
BUILT_IN = ("add", "matmul", "mul")
"""Ops of several inputs that runtimes have kernels of."""
READ = ("torch", "keras")
"""Where a spelling stands for one op; a format's operator may be several of ours, by its options."""
PROBES: Array = np.linspace(-4.0, 4.0, 17)
LAWS = {"sums": Sum, "products": Product, "averages": Average, "means": Mean}


def check_op(op: Any) -> str | None:
    """What is wrong with an op; None where nothing is."""
    if not isinstance(op, Op):
        return "build it with mpq_plugins.graph.op.Op(...)"
    if op.word in RESERVED:
        return f"{op.word!r} is a word of graphs or of targets; give another"
    if not callable(op.value):
        return "its value is no function of a runner, a node and the inputs"
    if op.grid not in GRIDS:
        return f"its grid is one of {', '.join(GRIDS)}, and not {op.grid!r}"
    taken = _taken(op)
    if taken:
        return taken
    if op.table and (op.arity != 1 or op.grid != "own" or op.weighted):
        return "a function of one element has arity 1, a grid of its own and no weight"
    if op.arity != 1 and op.grid == "own" and not op.weighted and op.word not in BUILT_IN:
        return _wrong_steps(op)
    if op.steps:
        return "steps are of ops of several inputs with a grid of their own; a function of one element is a table"
    return _wrong_values(op) if op.table and not op.attrs else None


def _taken(op: Op) -> str | None:
    for framework, names in op.spellings.items():
        if isinstance(names, str):
            return f"its spellings are tuples of names, and that of {framework} is {names!r}"
        for other in known().ops.values() if framework in READ else ():
            shared = set(names).intersection(other.spellings.get(framework, ()))
            if shared and other.word != op.word:
                return f"{framework}'s {min(shared)} is the op {other.word!r} already"
    return None


def _wrong_steps(op: Op) -> str | None:
    """What is wrong with an op of several inputs: no kernel is known of it, so that its steps have to be."""
    if not op.arity or not op.steps:
        return "an op of several inputs says how many, and the steps that compute it (Op.steps)"
    wrong = wrong_composition(op.word, op.steps, known().ops, op.arity)
    if wrong:
        return wrong
    rng = np.random.default_rng(0)
    given = [rng.uniform(-4, 4, 64) for _ in range(op.arity)]
    found: dict[str, Any] = dict(zip(inputs_of(op.arity), given, strict=True))
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(op.value(NUMPY_RUNNER, Node(op.word, op.word, tuple(found)), *given))
            for word, inputs in op.steps:
                step = known().ops[word]
                found[word] = step.value(NUMPY_RUNNER, Node(word, word, inputs), *(found[part] for part in inputs))
    except Exception as error:
        return f"its value, or that of its steps, fails in NumPy: {type(error).__name__}: {error}"
    off = np.abs(value - found[op.steps[-1][0]])
    if value.shape != (64,) or not np.all(off <= 1e-9 * (1 + np.abs(value))):
        return f"its steps compute something else than its value, which differs by up to {np.nanmax(off):g}"
    return None


def wrong_composition(word: str, steps: Composition, ops: Mapping[str, Op], arity: int = 1) -> str | None:
    """What is wrong with the steps of an op."""
    before = {*inputs_of(arity)}
    for step, inputs in steps:
        if step not in ops or not before.issuperset(inputs):
            return f"step {step!r} of its {word} is no op, or reads what no earlier step computes: {', '.join(inputs)}"
        before.add(step)
    return None if steps else f"its composition of {word} has no step"


def _wrong_values(op: Op) -> str | None:
    """What is wrong with a function of one element, by its values at some places."""
    node = Node(op.word, op.word, ("x",))
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(op.value(NUMPY_RUNNER, node, PROBES))
        below = op.negative(node, [True])
    except Exception as error:
        return f"its value fails in NumPy: {type(error).__name__}: {error}"
    if found.shape != PROBES.shape or found.dtype != np.float64:
        return f"its value of {PROBES.size} float64 numbers is an array of shape {found.shape} and type {found.dtype}"
    if not np.all(np.isfinite(found)):
        return f"its value at {PROBES[~np.isfinite(found)][0]:g} is not finite"
    if not below and found.min() < 0:
        return (
            f"it says that nothing below zero comes out, and its value at {PROBES[found.argmin()]:g} is {found.min():g}"
        )
    return None


def check_runtime(table: Any) -> str | None:
    """What is wrong with a runtime; None where nothing is."""
    if not isinstance(table, Runtime):
        return "build it with mpq_plugins.graph.runtimes.runtime.Runtime(...)"
    if not (table.framework and table.engine):
        return "it needs a framework and an engine, as a target's runtime says them"
    rules = {*table.rounding.values()} | ({table.broadcast_rounding} - {None})
    laws: list[tuple[str, set[Any], Any]] = [
        ("rounds ties", rules, Rounding),
        ("accumulates", {*table.accumulation.values()}, Accumulation),
        *((f"has {name}", {getattr(table, name)}, law) for name, law in LAWS.items()),
    ]
    for what, given, allowed in laws:
        wrong = sorted(str(word) for word in given if word not in get_args(allowed) and not callable(word))
        if wrong:
            return f"it {what} by {', '.join(wrong)}, which is none of {', '.join(get_args(allowed))}"
    own = [law for law in (*table.accumulation.values(), table.averages, table.means) if callable(law)]
    if own:
        return f"it has {name_of_law(own[0])} for an accumulation, an average or a mean, whose laws are words alone"
    if "*" not in table.accumulation:
        return "its accumulation says nothing of '*', all ops that it does not name"
    return wrong_laws(table) or _unknown_words(table)


def _unknown_words(table: Runtime) -> str | None:
    ops = known().ops
    for what, words in (("functions", table.functions), ("lacks", table.lacks), ("compositions", table.compositions)):
        for word in words:
            if word not in ops or not (ops[word].table or (what != "functions" and ops[word].steps)):
                return f"its {what} name {word!r}, which is no function of one element"
    for word, steps in table.compositions.items():
        wrong = wrong_composition(word, steps, ops, ops[word].arity or 1)
        if wrong:
            return wrong
    return None

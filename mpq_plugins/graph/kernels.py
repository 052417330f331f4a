"""How each runtime comes to an op: by a kernel, a table of codes, several steps, by moving codes, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from mpq_plugins.graph.op import Op
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.runtimes import integers, rule, runtime_of
from mpq_plugins.graph.runtimes.runtime import Runtime, name_of_law
from mpq_plugins.hardware.target import Target

Way = Literal["kernel", "table", "steps", "moves", ""]
PLAIN = "integers"
"""The name of what runs the targets that name no runtime."""


def name_of(runtime: Runtime) -> str:
    """ "framework.engine", as plug-ins register it; PLAIN for plain integers."""
    return PLAIN if runtime is integers.PLAIN else f"{runtime.framework}.{runtime.engine}"


def targets_by_runtime(targets: Iterable[Target]) -> dict[str, list[Target]]:
    """The targets that each runtime runs, by the runtime's name."""
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(name_of(runtime_of(target)), []).append(target)
    return found


def way(op: Op, runtime: Runtime, targets: Iterable[Target]) -> Way:
    """How a runtime comes to an op on the targets that it runs; "" where none of them has it: float, or refused."""
    if op.word in runtime.lacks:
        return ""
    if op.word in runtime.compositions:
        return "steps"
    if op.steps:
        return "steps" if any(_runs_all(op, target, runtime) for target in targets) else ""
    if not any(target.runs(op.target_word) for target in targets):
        return ""
    if not op.computes:
        return "moves"
    return "table" if op.table and runtime.tables and op.word not in runtime.functions else "kernel"


def _runs_all(op: Op, target: Target, runtime: Runtime) -> bool:
    words = [all_ops()[word].target_word for word, _ in op.steps]
    return all(target.runs(word) and word not in runtime.lacks for word in words)


def steps_of(op: Op, runtime: Runtime) -> str:
    """The steps of a composition in a line.

    >>> from mpq_plugins.graph.ops import all_ops
    >>> from mpq_plugins.graph.runtimes import all_runtimes
    >>> steps_of(all_ops()["silu"], all_runtimes()["torch", "x86"])
    'sigmoid(input), mul(input, sigmoid)'
    """
    steps = runtime.compositions.get(op.word, op.steps)
    return ", ".join(f"{word}({', '.join(inputs)})" for word, inputs in steps)


def rounds(op: Op, runtime: Runtime) -> str:
    """How a runtime rounds ties in an op; "as the target says" where its table leaves that open, "" for no rounding."""
    return name_of_law(rule(runtime, op.target_word) or "as the target says") if op.computes else ""


def law(op: Op, runtime: Runtime) -> str:
    """The word of the law by which a runtime computes an op before it rounds; "" for the exact one."""
    if op.weighted:
        grouped = f", in groups {runtime.grouped}" if runtime.grouped else ""
        return f"accumulates in {runtime.accumulates(op.word)}{grouped}"
    laws: Mapping[str, str] = {
        "add": name_of_law(runtime.sums),
        "mul": name_of_law(runtime.products),
        "avg_pool": runtime.averages,
        "global_avg_pool": runtime.means,
    }
    found = laws.get(op.word, "exact")
    return "" if found == "exact" else found

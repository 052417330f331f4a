"""What each runtime does differently, one table each; what a table does not say is exact, rounded once."""

from __future__ import annotations

from collections.abc import Mapping

from mpq_plugins.errors import TargetError
from mpq_plugins.graph.ops import all_ops
from mpq_plugins.graph.runtimes import integers
from mpq_plugins.graph.runtimes.runtime import LOOKUP, Rule, Runtime, name_of_law
from mpq_plugins.hardware.op_support import Rounding
from mpq_plugins.hardware.target import ANY_OP, Target
from mpq_plugins.registry import known


def all_runtimes() -> Mapping[tuple[str, str], Runtime]:
    """Every runtime that a plug-in has registered, by the framework and the engine that a target names."""
    return known().runtimes


def runtime_of(target: Target) -> Runtime:
    """The table of the runtime that a target names; plain integers for one that names none, or one unknown here."""
    if target.runtime is None:
        return integers.PLAIN
    return all_runtimes().get((target.runtime.framework, target.runtime.engine), integers.PLAIN)


def rule(runtime: Runtime, word: str) -> Rule | None:
    """How a runtime rounds ties in an op, by the word that targets have for it; None where the target decides."""
    record = all_ops().get(word)
    table = record is not None and record.table and word not in runtime.rounding
    return runtime.rounding.get(LOOKUP if table else word, runtime.rounding.get(ANY_OP))


def rule_in_words(runtime: Runtime, word: str) -> Rounding | None:
    """The same as targets can say it; None for a function of the runtime's own."""
    found = rule(runtime, word)
    return found if isinstance(found, str) else None


def rounding_of(target: Target, word: str) -> Rule:
    """How ties are rounded in an op: as the target says, else as its runtime does; half to even where neither says.

    Raises UnsupportedOp for an op that the target does not have.
    """
    return target.support(word).rounding or rule(runtime_of(target), word) or "half_even"


def contradictions(target: Target, runtime: Runtime) -> dict[str, tuple[Rule, Rule]]:
    """By the word of each op that the two round otherwise: the rule of the target, and that of the runtime."""
    computing = {op.target_word for op in all_ops().values() if op.computes}
    words = computing if ANY_OP in target.ops else computing & set(target.ops)
    found = {}
    for word in sorted(words):
        said, does = rounding_of(target, word), rule(runtime, word)
        if does is not None and said != does:
            found[word] = (said, does)
    return found


def check_rounds_as(target: Target, runtime: Runtime, remedy: str) -> None:
    """Raise TargetError, naming the ops and the target's rules, where it rounds otherwise than a runtime.

    remedy: what that runtime does, and what to do instead.
    """
    other = contradictions(target, runtime)
    if other:
        listed = ", ".join(f"{op} {name_of_law(said)}" for op, (said, _) in other.items())
        raise TargetError(f"target {target.name!r} rounds {listed}, and {remedy}")


def check_rounding(target: Target) -> None:
    """Raise TargetError, naming the ops, both rules and the runtime, where a target rounds otherwise than its runtime.

    A target that says nothing of an op rounds as its runtime does.
    """
    runtime = runtime_of(target)
    wrong = contradictions(target, runtime)
    if wrong:
        listed = ", ".join(
            f"{word} {name_of_law(said)} (the runtime: {name_of_law(does)})" for word, (said, does) in wrong.items()
        )
        raise TargetError(
            f"target {target.name!r} rounds {listed}, and its runtime, {runtime.framework}'s {runtime.engine}, does "
            "not; say the runtime's rules or none, or name no runtime for hardware of your own"
        )

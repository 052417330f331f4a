"""``mpq plugins``, ``targets``, ``methods``, ``ops`` and ``runtimes``: what is installed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer


def plugins() -> None:
    """List plug-ins: what is loaded, and what failed and why.

    Example: mpq plugins
    """
    from mpq_plugins.commands.listing import print_list
    from mpq_plugins.plugins import PluginWarning, host

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the list says it
        found = host().plugins()
    print_list(
        ("name", "distribution", "version", "state", "summary", "failure"),
        [(p.name, p.distribution, p.version, p.state, p.summary, p.failure) for p in found],
    )


def targets(
    name: Annotated[
        str | None, typer.Argument(help="Print this target as JSON: a start for a target of yours.")
    ] = None,
) -> None:
    """List hardware targets, or print one as JSON.

    Example: mpq targets torch-x86 > mine.json
    """
    from mpq_plugins.plugins import host

    if name is not None:
        print(host().target(name).to_json(), end="")
        return
    _list("targets", ("runtime",), lambda t: (f"{t.runtime.framework} {t.runtime.engine}" if t.runtime else "",))


def methods() -> None:
    """List methods: the ways to find grids, or to train them.

    Example: mpq methods
    """
    _list("methods", ("kind", "paper"), lambda m: (m.kind, str(getattr(m, "paper", ""))))


def ops(
    name: Annotated[str | None, typer.Argument(help="List how each runtime computes this op.")] = None,
) -> None:
    """List ops, and how each runtime comes to them: by a kernel, a table of codes, several steps, moving codes.

    Example: mpq ops silu
    """
    from mpq_plugins.commands.listing import print_list
    from mpq_plugins.graph import kernels
    from mpq_plugins.plugins import host

    runtimes = _runtimes()
    if name is not None:
        op = host().op(name)
        details = [
            (known, way or "-", kernels.rounds(op, table) if way else "", kernels.law(op, table) if way else "", how)
            for known, (table, on) in runtimes.items()
            for way, how in [(kernels.way(op, table, on), kernels.steps_of(op, table))]
        ]
        print_list(("runtime", "way", "rounding", "law", "steps"), details)
        return
    engines = [known.rpartition(".")[2] for known in runtimes]
    headings = engines if len(set(engines)) == len(engines) else list(runtimes)
    lines: list[tuple[str, ...]] = []
    for word, op in host().ops().items():
        ways = (kernels.way(op, table, on) or "-" for table, on in runtimes.values())
        arity = "any" if op.arity is None else str(op.arity)
        lines.append((word, arity, op.grid, *ways, host().provider("ops", word).distribution))
    print_list(("name", "inputs", "grid", *headings, "distribution"), lines)


def runtimes(
    name: Annotated[str | None, typer.Argument(help="List how this runtime computes each op.")] = None,
) -> None:
    """List runtimes, or what one of them does with each op: how it comes to it, rounds and computes.

    Example: mpq runtimes torch.qnnpack
    """
    from mpq_plugins.commands.listing import print_list
    from mpq_plugins.graph import kernels
    from mpq_plugins.graph.runtimes.runtime import name_of_law
    from mpq_plugins.plugins import host

    known = _runtimes()
    if name is not None:
        table, on = known[name] if name in known else (host().runtime(name), [])
        details = [
            (word, way, kernels.rounds(op, table), kernels.law(op, table), kernels.steps_of(op, table))
            for word, op in host().ops().items()
            if (way := kernels.way(op, table, on))
        ]
        print_list(("op", "way", "rounding", "law", "steps"), details)
        return
    lines = []
    for runtime, (table, on) in known.items():
        count = sum(bool(kernels.way(op, table, on)) for op in host().ops().values())
        own = runtime in host().runtimes()
        distribution = host().provider("runtimes", runtime).distribution if own else "mpq-plugins"
        others = (f"{op} {name_of_law(rule)}" for op, rule in table.rounding.items() if op != "*")
        rounding = ", ".join([name_of_law(table.rounding.get("*", "as the target says")), *others])
        lines.append((runtime, str(count), rounding, distribution, ", ".join(target.name for target in on)))
    print_list(("name", "ops", "rounding", "distribution", "targets"), lines)


def _runtimes() -> dict[str, tuple[Any, list[Any]]]:
    """Every runtime by name, plain integers first, with the targets that it runs."""
    from mpq_plugins.graph import kernels
    from mpq_plugins.graph.runtimes import integers
    from mpq_plugins.plugins import host

    on = kernels.targets_by_runtime(host().targets().values())
    tables = {kernels.PLAIN: integers.PLAIN, **host().runtimes()}
    return {name: (table, on.get(name, [])) for name, table in tables.items()}


def _list(section: str, headings: Sequence[str], cells: Any) -> None:
    """List what plug-ins registered: name, further cells, and the distribution that it came from."""
    from mpq_plugins.commands.listing import print_list
    from mpq_plugins.plugins import host

    lines = []
    for name, item in getattr(host(), section)().items():
        provider = host().provider(section, name)
        summary = getattr(item, "summary", None) or getattr(item, "description", "")
        lines.append((name, *cells(item), provider.distribution, provider.version, str(summary)))
    print_list(("name", *headings, "distribution", "version", "summary"), lines)

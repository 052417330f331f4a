"""``mpq plugins``, ``mpq targets`` and ``mpq methods``: what is installed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer


def plugins() -> None:
    """List plug-ins: what is loaded, and what failed and why.

    Example: mpq plugins
    """
    from mpq_plugins.listing import print_list
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


def _list(section: str, headings: Sequence[str], cells: Any) -> None:
    """List what plug-ins registered: name, further cells, and the distribution that it came from."""
    from mpq_plugins.listing import print_list
    from mpq_plugins.plugins import host

    lines = []
    for name, item in getattr(host(), section)().items():
        provider = host().provider(section, name)
        summary = getattr(item, "summary", None) or getattr(item, "description", "")
        lines.append((name, *cells(item), provider.distribution, provider.version, str(summary)))
    print_list(("name", *headings, "distribution", "version", "summary"), lines)

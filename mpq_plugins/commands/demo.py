"""``mpq demo``: a small network from training to verified integers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    framework: Annotated[str, typer.Option(help="The adapter to show.")] = "torch",
    out: Annotated[Path, typer.Option(help="Where to write the last recipe.")] = Path("recipe.json"),
) -> None:
    """Train a small network, quantize it, convert it and verify it.

    On scikit-learn's digits, at 4 and at 3 bits.

    Example: mpq demo --framework tfmot
    """
    from rich.console import Console

    from mpq_plugins.commands.digits import table
    from mpq_plugins.errors import PluginError
    from mpq_plugins.plugins import host
    from mpq_plugins.registry.adapter import HasDemo

    adapter = host().framework(framework)
    if not isinstance(adapter, HasDemo):
        raise PluginError(f"the adapter {framework!r} has no demo; those of torch and tfmot have one")
    shown = adapter.demo()
    rows = []
    with Console(stderr=True).status("training a small network on digits, then quantizing it"):
        for row, recipe in shown.run():
            rows.append(row)
            recipe.save(out)
    Console().print(table(rows, shown.RUNTIME))
    print(f"the recipe at {rows[-1].average_bits:.2f} bits is in {out}; look at it with: mpq show {out}")

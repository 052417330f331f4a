"""The command line, ``mpq``. A command is a function here that prints what one call of the library gives."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from mpq_plugins import __version__
from mpq_plugins.errors import MPQError, PluginError

app = typer.Typer(
    name="mpq",
    help="Hardware-friendly mixed-precision quantization: what is installed, and what recipes say.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DEBUG = "--debug"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 when it worked, 1 for an error of ours in one sentence, 2 for usage.

    ``--debug``, anywhere among the arguments, shows the traceback instead.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            app([argument for argument in given if argument != DEBUG])
    except MPQError as error:
        if debug:
            raise
        print(f"mpq: {error}", file=sys.stderr)
        sys.exit(1)


def _version(asked: bool) -> None:
    if asked:
        print(f"mpq-plugins {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show tracebacks of errors.")] = False,
) -> None:
    """Options of all commands; main takes ``--debug`` out, which stands here for the help."""


@app.command()
def plugins() -> None:
    """List plug-ins: what is loaded, from which distribution, and what failed and why."""
    from mpq_plugins.listing import print_list
    from mpq_plugins.plugins import PluginWarning, host

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the list says it
        found = host().plugins()
    print_list(
        ("name", "distribution", "version", "state", "summary", "failure"),
        [(p.name, p.distribution, p.version, p.state, p.summary, p.failure) for p in found],
    )


@app.command()
def targets(
    name: Annotated[
        str | None, typer.Argument(help="Print this target as JSON: a start for a target of yours.")
    ] = None,
) -> None:
    """List hardware targets, or print one as JSON."""
    from mpq_plugins.plugins import host

    if name is not None:
        print(host().target(name).to_json(), end="")
        return
    _list("targets", ("runtime",), lambda t: (f"{t.runtime.framework} {t.runtime.engine}" if t.runtime else "",))


@app.command()
def methods() -> None:
    """List methods: the ways to find grids, or to train them."""
    _list("methods", ("kind", "paper"), lambda m: (m.kind, str(getattr(m, "paper", ""))))


@app.command()
def show(
    recipe: Annotated[Path, typer.Argument(help="A recipe, as Recipe.save writes it.")],
) -> None:
    """Print a recipe as a table: the grid of every site, and why."""
    from mpq_plugins.recipe import Recipe

    print(Recipe.load(recipe))


@app.command()
def demo(
    framework: Annotated[str, typer.Option(help="The adapter to show.")] = "torch",
    out: Annotated[Path, typer.Option(help="Where to write the last recipe.")] = Path("recipe.json"),
) -> None:
    """Train a small network on digits, quantize it at 4 and 3 bits, convert it and verify the result."""
    from rich.console import Console

    from mpq_plugins.demo import table
    from mpq_plugins.plugins import host

    frameworks = host().frameworks()
    if framework not in frameworks:
        raise PluginError(f"no adapter {framework!r}; there are {', '.join(frameworks)}")
    shown = frameworks[framework].demo()
    rows = []
    with Console(stderr=True).status("training a small network on digits, then quantizing it"):
        for row, recipe in shown.run():
            rows.append(row)
            recipe.save(out)
    Console().print(table(rows, shown.RUNTIME))
    print(f"the recipe at {rows[-1].average_bits:.2f} bits is in {out}; look at it with: mpq show {out}")


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


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning; one about a plug-in in one line, since where it was raised helps nobody."""
    from mpq_plugins.plugins import PluginWarning

    if issubclass(category, PluginWarning):
        text = f"mpq: warning: {message}\n"
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)

"""The command line, ``mpq``: the list of its commands, each of which is a file of mpq_plugins.commands."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, TextIO

import typer

from mpq_plugins.commands import catalogue
from mpq_plugins.commands.demo import demo
from mpq_plugins.commands.export import export
from mpq_plugins.commands.integers import integers
from mpq_plugins.commands.measure import measure
from mpq_plugins.commands.new_backend import new_backend
from mpq_plugins.commands.pareto import pareto
from mpq_plugins.commands.report import report
from mpq_plugins.commands.search import search
from mpq_plugins.commands.show import show
from mpq_plugins.errors import InfeasibleBudget, MPQError, VerificationError
from mpq_plugins.registry.version import __version__

EPILOG = (
    "Exit codes: 0 done, 1 an error (one sentence on standard error), 2 a wrong option or argument, 3 no choice of "
    "bits meets the budget, 4 a converted model differs from its simulation, 130 interrupted."
)
DEBUG = "--debug"

app = typer.Typer(
    name="mpq",
    help="Hardware-friendly mixed-precision quantization, from a float model to verified integers.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # boxes cut off the names of options where the terminal is narrow
)
for command in (
    search,
    pareto,
    show,
    report,
    measure,
    export,
    integers,
    catalogue.targets,
    catalogue.methods,
    catalogue.ops,
    catalogue.runtimes,
    catalogue.plugins,
    new_backend,
    demo,
):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with one of the codes of EPILOG.

    ``--debug``, anywhere among the arguments, shows the traceback of an error, and every warning.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in given
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.showwarning = _show_ours
            app([argument for argument in given if argument != DEBUG])
    except MPQError as error:
        if debug:
            raise
        print(f"mpq: {error}", file=sys.stderr)
        sys.exit(_exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _exit_code(error: MPQError) -> int:
    if isinstance(error, InfeasibleBudget):
        return 3
    return 4 if isinstance(error, VerificationError) else 1


def _version(asked: bool) -> None:
    if asked:
        print(f"mpq-plugins {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
    debug: Annotated[bool, typer.Option(DEBUG, help="Show tracebacks of errors, and every warning.")] = False,
) -> None:
    """Options of all commands; main takes ``--debug`` out, which stands here for the help."""


def _show_ours(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a warning about a plug-in in one line; those of the frameworks say nothing to who runs a command."""
    from mpq_plugins.plugins import PluginWarning

    if issubclass(category, PluginWarning):
        (file or sys.stderr).write(f"mpq: warning: {message}\n")

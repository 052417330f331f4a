"""Lists on the command line: a table for a person, tab-separated lines for a program."""

from __future__ import annotations

import sys
from collections.abc import Sequence

PROSE = ("summary", "failure", "paper", "targets", "rounding")
"""The columns that may be wrapped where the terminal is narrow."""


def print_list(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print rows of text: a table on a terminal, else one tab-separated line each, headings first.

    Columns in which no row has anything are left out of the table; the lines have every column.
    """
    if not sys.stdout.isatty():
        for line in (headings, *lines):
            print("\t".join(" ".join(cell.split()) for cell in line))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    filled = [index for index in range(len(headings)) if any(line[index] for line in lines)]
    for index in filled:
        prose = headings[index] in PROSE
        table.add_column(headings[index], overflow="fold", no_wrap=not prose)
    for line in lines:
        table.add_row(*(Text(line[index]) for index in filled))
    Console().print(table)

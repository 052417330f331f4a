"""``mpq new-backend``: the package of a hardware back end, to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new_backend(
    directory: Annotated[Path, typer.Argument(help="Where to write the package: a new or an empty directory.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the package; by default that of the directory.", show_default=False)
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Name of the target; by default the package's, with -npu.", show_default=False)
    ] = None,
) -> None:
    """Write a package that offers a target and a cost model, ready to install and to test.

    Example: mpq new-backend mpq-acme
    """
    from mpq_plugins.hardware.target import Target
    from mpq_plugins.plugins.backend_package import BackendNames, check_directory, render, write_package

    check_directory(directory)
    names = BackendNames.of(name or directory.absolute().name, target)
    names.check_free()
    contents = render(names)
    Target.from_json(contents[f"src/{names.package}/target.json"], f"--target {names.target}")
    write_package(directory, contents)
    print(f"{names.distribution} with the target {names.target} is in {directory}. To install and test it:\n")
    print(f"    pip install -e '{directory}[test]'\n    pytest {directory}")

"""Where things are: imports run one way, in the core from room to room, and nowhere in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mpq_plugins

ROOT = Path(mpq_plugins.__file__).parent.parent
ORDER = (
    *("errors", "registry", "terminal", "stored", "grid", "inventory"),
    *("array_ops", "hardware", "graph", "costs", "allocation", "thresholds", "rounding", "search_input", "recipe"),
    *("sensitivity", "training", "latency", "search", "integers", "exporters", "plugins", "papers", "builtin"),
    *("workspace", "reporting", "testing", "commands"),
)
"""Rooms and files at the core's root: each may import those before it."""
PACKAGES = {
    "mpq_plugins": ROOT / "mpq_plugins",
    "mpq_torch": ROOT / "adapters" / "mpq_torch",
    "mpq_tfmot": ROOT / "adapters" / "mpq_tfmot",
}


def modules(package: str) -> dict[str, Path]:
    """Every module of a package but its tests, by dotted name."""
    folder = PACKAGES[package]
    found = {}
    for path in folder.rglob("*.py"):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if "tests" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the same package that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in known:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in known else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)


def room(module: str) -> str:
    """The folder, or the file at the root, that a module of the core is in."""
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("package", PACKAGES)
def test_no_import_comes_back_to_where_it_began(package: str) -> None:
    known = modules(package)
    files = {module: set(imported(path, known)) - {module} for module, path in known.items()}
    rooms: dict[str, set[str]] = {}
    for module, others in files.items():
        rooms.setdefault(room(module), set()).update({room(other) for other in others} - {room(module)})
    for graph in (files, rooms):
        try:
            tuple(TopologicalSorter(graph).static_order())
        except CycleError as error:
            pytest.fail(" -> ".join(error.args[1]))


def test_rooms_of_the_core_import_only_those_before_them() -> None:
    known = modules("mpq_plugins")
    wrong = [
        f"{module} imports {other}"
        for module, path in known.items()
        if room(module) not in ("", "__main__")  # the package's own door stands above all
        for other in imported(path, known)
        if room(other) and ORDER.index(room(other)) > ORDER.index(room(module))
    ]
    assert wrong == []


def test_every_room_of_the_core_has_its_place() -> None:
    assert {room(module) for module in modules("mpq_plugins")} - {"", "__main__"} == set(ORDER)

"""The pytest plug-in of the conformance kit: its options, and which of its modules they ask for.

An entry point of pytest (group ``pytest11``) loads it wherever mpq-plugins is installed; so that this costs
nothing, it imports the plug-in host only when an option is given.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
MODULES = {
    "target": "test_targets.py",
    "method": "test_methods.py",
    "op": "test_ops.py",
    "runtime": "test_runtimes.py",
    "framework": "test_frameworks.py",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """--mpq-target, --mpq-method, --mpq-op, --mpq-runtime, --mpq-framework."""
    group = parser.getgroup("mpq-plugins", "conformance kit (--pyargs mpq_plugins.testing)")
    for kind, words in {
        "target": "registered target, or a target's .json file",
        "method": "registered method",
        "op": "registered op, by its word",
        "runtime": "registered runtime, framework.engine",
        "framework": "registered adapter of a framework",
    }.items():
        group.addoption(
            f"--mpq-{kind}", action="append", metavar="NAME", help=f"run the kit on this {words}; repeatable"
        )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a name that nobody registered before anything runs."""
    if not _asked(config):
        return
    from mpq_plugins.errors import MPQError
    from mpq_plugins.testing.selection import asked_for, find

    for kind, names in asked_for(config).items():
        for name in names:
            try:
                find(kind, name)
            except MPQError as error:
                raise pytest.UsageError(f"--mpq-{kind} {name}: {error}") from None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the modules of the kit that no option asks for, where there are options."""
    asked = _asked(config)
    if not asked or collection_path.parent != HERE:
        return None
    unasked = [module for kind, module in MODULES.items() if kind not in asked]
    return True if collection_path.name in unasked else None


def _asked(config: pytest.Config) -> list[str]:
    return [kind for kind in MODULES if config.getoption(f"mpq_{kind}", default=None)]

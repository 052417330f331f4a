"""Modules that can be called: ``mpq_plugins.targets()`` beside ``from mpq_plugins.targets import Target``.

The import system binds a submodule to its name in the package, so a function of the same name there
would vanish with the first import of the submodule. A module that is itself callable has no such race.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class CallableModule(ModuleType):
    """A module that calls the function it was given."""

    __mpq_call__: Callable[[], Any]

    def __call__(self) -> Any:
        return type(self).__getattribute__(self, "__mpq_call__")()


def make_callable(module_name: str, function: Callable[[], Any]) -> None:
    """Make the imported module ``module_name`` callable: calling it calls ``function``."""
    module = sys.modules[module_name]
    module.__class__ = CallableModule
    module.__dict__["__mpq_call__"] = function

"""Built-in methods, one file per paper, registered through the same hook as anybody's.

Calling this package, ``mpq_plugins.methods()``, gives the registered methods by name.
"""

from __future__ import annotations

from typing import Any

from mpq_plugins.hosting import callable_module


def _registered() -> Any:
    from mpq_plugins import registry

    return registry.host().methods()


callable_module.make_callable(__name__, _registered)

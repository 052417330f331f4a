"""Registry: what is found by its name: what plug-ins have registered, old import paths and arguments, this version.

Each room below the host that loads plug-ins asks for what is its own: targets in hardware, ops and runtimes in graph,
methods in search. The host stands above all of them, and is named by the package itself (``made_by``), so that nothing
imports upwards.
"""

from __future__ import annotations

from mpq_plugins.registry.process import Host, Known, host, known, made_by, once_known, using

__all__ = ["Host", "Known", "host", "known", "made_by", "once_known", "using"]

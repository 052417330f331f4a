"""Registry: what plug-ins have registered, for every room below the host that loads them.

Each room asks for what is its own: targets in hardware, ops and runtimes in graph, methods in search. Who loads
plug-ins stands above all of them, and is named by the package itself (``made_by``), so that nothing imports upwards.
"""

from __future__ import annotations

from mpq_plugins.registry.process import Host, Known, host, known, made_by, once_known, using

__all__ = ["Host", "Known", "host", "known", "made_by", "once_known", "using"]

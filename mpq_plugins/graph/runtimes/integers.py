"""Plain integers: shifts that round once, by the target's rule. What generic targets and C programs compute."""

from mpq_plugins.graph.runtimes.runtime import Runtime

PLAIN = Runtime("", "", rounding={}, rows=True)

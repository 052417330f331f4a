"""What of a model a verification compares how, in words."""

from __future__ import annotations

from mpq_plugins.graph.node import RAW, Graph


def with_floats(graph: Graph) -> str:
    """Where what is computed in float behind the integers is compared too."""
    outputs = dict.fromkeys(graph.outputs)
    integers = [graph[name].site for name in outputs if graph[name].op not in RAW]
    floats = _floats(graph)
    parts = [f"{', '.join(integers)} as integers"] if integers else []
    if floats:
        ends = [graph[name].site for name in graph.integer_outputs if name not in outputs]
        source = f", computed in float from the integers of {', '.join(ends)}" if ends else " in float"
        parts.append(f"{', '.join(floats)}{source}")
    return "; ".join(parts)


def without_floats(graph: Graph) -> str:
    """Where the last integers alone are; nothing where all of the model is."""
    floats = _floats(graph)
    if not floats:
        return ""
    ends = ", ".join(graph[name].site for name in graph.integer_outputs)
    return f"{ends} as integers; {', '.join(floats)} behind it in float is not compared"


def _floats(graph: Graph) -> list[str]:
    return [name for name in dict.fromkeys(graph.outputs) if graph[name].op in RAW]

"""What of a model cannot be quantized, all names at once, with the way out and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.graph.node import RAW, Graph
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.shares import macs_of
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.hardware.target import Target

Refuses = Callable[[Graph], Mapping[str, str]]
"""What a target has against a graph whose float parts are settled: by node, why. Of a float node: it is no way out."""


def refuses_nothing(graph: Graph) -> Mapping[str, str]:
    """Where no target is asked."""
    return {}


def without_grid(target: Target, graph: Graph) -> dict[str, str]:
    """The nodes on grids that the target has no grid for, with the reason."""
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.op in RAW:
            continue
        op = op_of(node)
        try:
            if node.weighted:
                target.weight_candidates(op.target_word)
            if op.grid != "alias":
                target.activation_candidates(op.target_word, False)
        except UnsupportedOp as error:
            found[node.name] = str(error).partition(";")[0]
    return found or _on_grids_of_others(target, graph)


def _on_grids_of_others(target: Target, graph: Graph) -> dict[str, str]:
    """The functions whose grid the target fixes, where what they are joined with has another."""
    found: dict[str, str] = {}
    for group in take_sites(graph).inventory.groups().values():
        sites = [site for site in group if site.kind == "activation" and not target.keeps_input_grid(site.op)]
        kinds = {site.name: target.support(site.op).activation for site in sites}
        fixed = {name: kind for name, kind in kinds.items() if kind is not None and kind.exponent is not None}
        signed = any(site.signed for site in group)
        for name, kind in fixed.items():
            alone = all(other == kind for other in kinds.values())
            if not alone or (signed and not kind.signed):
                step = 2.0 ** (kind.exponent or 0) / 2 ** (max(kind.bits) - bool(kind.signed))
                found[name] = f"target {target.name!r} computes it on steps of {step:g} alone, and it shares a grid"
    return found


def refusal(
    graph: Graph, reasons: Mapping[str, str], stuck: Mapping[str, str], kept: Collection[str], followed: Collection[str]
) -> UnsupportedOp:
    """The error that names everything.

    reasons: by name, why an op is not computed in integers. stuck: names and reasons of those that keep_float does not
    help either. kept: the nodes that keep_float of all others would leave in float. followed: those of ``reasons`` that
    a weight follows.
    """
    why = {**stuck, **reasons}
    order = {node.name: index for index, node in enumerate(graph.nodes)}
    every = sorted(why, key=lambda name: order.get(name, -1))  # what enters the part on grids is not in the graph yet
    names = [name for name in every if name not in stuck]
    listed = "; ".join(f"{name}: {why[name]}" for name in every)
    sentences = [listed + ("; and a weight follows" if followed else "")]
    if names:
        sentences.append(
            f"Name them in keep_float={names} to leave them in float arithmetic, and {_share(graph, kept)} of the "
            "multiply-accumulates with them"
        )
    both = [name for name in every if name in stuck and name in reasons]  # of the others the reason is that already
    if both:
        sentences.append(
            f"The target's runtime has nothing that computes {', '.join(both)} in float either: put other ops in the "
            "place, or cut the model there"
        )
    return UnsupportedOp(". ".join(sentences), names=every)


def _share(graph: Graph, names: Collection[str]) -> str:
    counts = {node.name: macs_of(node, graph) for node in graph.nodes}
    total, float_part = sum(counts.values()), sum(counts[name] for name in names)
    return f"{100 * float_part / total:.3g} %" if float_part else "none"

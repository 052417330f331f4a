"""Putting a module of the canonical graph in the place of a traced node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from mpq_torch.canonical_ops import SAME_GRID_SUFFIX
from mpq_torch.reader.shape_values import is_shape_value as is_shape_value

Rewrite = Callable[[fx.GraphModule, fx.Node], "str | None"]
"""Rewrites one node in place; returns None, or the reason why no integer kernel can run it."""


def install(
    graph: fx.GraphModule,
    node: fx.Node,
    path: str,
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None = None,
) -> fx.Node:
    """Put ``module`` at ``path`` and let a call of it take the place of ``node``."""
    graph.add_submodule(path, module.eval())
    with graph.graph.inserting_before(node):
        new = graph.graph.call_module(path, args, kwargs or {})
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)
    return new


def argument(node: fx.Node, position: int, name: str, default: Any = None) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def free_path(graph: fx.GraphModule, node: fx.Node, path: str) -> str:
    """``path``, or the first numbered variant of it that no other node uses."""
    taken = {str(n.target) for n in graph.graph.nodes if n.op == "call_module" and n is not node}
    candidate, count = path, 0
    while candidate in taken:
        count += 1
        candidate = f"{path}{count}"
    return candidate


def same_grid(
    graph: fx.GraphModule, node: fx.Node, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    path = free_path(graph, node, str(node.meta["mpq_name"]) + SAME_GRID_SUFFIX)
    install(graph, node, path, module, args, kwargs)

"""What a traced model computes from its own tensors alone: constants, whatever they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

Attribute = Callable[[str], Any]
"""A tensor or module of the model by its path."""


def is_constant(node: fx.Node) -> bool:
    """Whether a node's value comes from tensors of the model and plain values, and so is the same at every call."""
    seen, left = {node}, [node]
    while left:
        needed = left.pop()
        sources = needed.all_input_nodes
        if needed.op != "get_attr" and not (needed.op.startswith("call_") and sources):
            return False
        left += [source for source in sources if source not in seen]
        seen.update(sources)
    return True


def constant_value(node: fx.Node, attribute: Attribute) -> Any:
    """The value of a node that is constant."""
    with torch.no_grad():
        return _evaluated(node, attribute, {})


def _evaluated(node: fx.Node, attribute: Attribute, known: dict[fx.Node, Any]) -> Any:
    if node not in known:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: _evaluated(n, attribute, known))
        if node.op == "get_attr":
            known[node] = attribute(str(node.target))
        elif node.op == "call_function":
            known[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        elif node.op == "call_module":
            known[node] = attribute(str(node.target))(*args, **kwargs)
        else:
            known[node] = getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return known[node]

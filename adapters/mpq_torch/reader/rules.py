"""Which rule makes the node of a call: by the class of its module, or by its function or method."""

from __future__ import annotations

from typing import Any

from torch import fx

from mpq_plugins.graph.node import Node
from mpq_torch.canonical_ops import FloatPart
from mpq_torch.reader import elementwise, layers, moving, pooling
from mpq_torch.reader.call import Call, Rule, function_name
from mpq_torch.reader.shapes import Observed

MODULES: dict[Any, Rule] = {**layers.MODULES, **elementwise.MODULES, **pooling.MODULES, **moving.MODULES}
FUNCTIONS: dict[Any, Rule] = {**layers.FUNCTIONS, **elementwise.FUNCTIONS, **pooling.FUNCTIONS, **moving.FUNCTIONS}


def node_of(call: Call) -> Node | fx.Node:
    """The node of a call, or the traced node that it stands for where it does nothing."""
    if isinstance(call.module, FloatPart):
        return _inside(call, call.module)
    if call.module is not None:
        for kind, rule in MODULES.items():
            if isinstance(call.module, kind):
                return rule(call)
        return call.unknown(f"no integer kernel for {type(call.module).__name__}")
    found = FUNCTIONS.get(call.node.target)
    return found(call) if found else call.unknown(f"no integer kernel for {function_name(call.node)}")


def _inside(call: Call, part: FloatPart) -> Node | fx.Node:
    """The node of a call that was written as a module of its own; one that computes sizes can only be kept float."""
    graph: Any = part.call
    *inputs, inner, _ = graph.graph.nodes
    if any(node.op != "placeholder" for node in inputs):
        return call.unknown(f"no integer kernel for {function_name(inner)}")
    outer = dict(zip(inputs, call.node.args, strict=True))
    names = {node: call.names[source] for node, source in outer.items()}
    shapes = {node: call.observed.shapes[source] for node, source in outer.items() if source in call.observed.shapes}
    if call.node in call.observed.shapes:
        shapes[inner] = call.observed.shapes[call.node]
    found = node_of(Call(inner, call.name, None, names, Observed(shapes, {}), call.attribute))
    return outer[found] if isinstance(found, fx.Node) else found

"""Which rule makes the node of a call: by the class of its module, or by its function or method."""

from __future__ import annotations

from typing import Any

from torch import fx

from mpq_plugins.graph.node import Node
from mpq_torch.reader import elementwise, layers, moving, pooling
from mpq_torch.reader.call import Call, Rule, function_name

MODULES: dict[Any, Rule] = {**layers.MODULES, **elementwise.MODULES, **pooling.MODULES, **moving.MODULES}
FUNCTIONS: dict[Any, Rule] = {**layers.FUNCTIONS, **elementwise.FUNCTIONS, **pooling.FUNCTIONS, **moving.FUNCTIONS}


def node_of(call: Call) -> Node | fx.Node:
    """The node of a call, or the traced node that it stands for where it does nothing."""
    if call.module is not None:
        for kind, rule in MODULES.items():
            if isinstance(call.module, kind):
                return rule(call)
        return call.unknown(f"no integer kernel for {type(call.module).__name__}")
    found = FUNCTIONS.get(call.node.target)
    return found(call) if found else call.unknown(f"no integer kernel for {function_name(call.node)}")

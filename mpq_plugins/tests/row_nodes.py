"""Nodes of ops over whole rows and of matrix products, whose gradients every framework's tests ask for."""

from mpq_plugins.graph.node import Node

NODES = {
    "normalize": Node("n", "normalize", ("x",), attrs={"axes": (1, 2), "centered": True, "epsilon": 0.1}),
    "mean square": Node("n", "normalize", ("x",), attrs={"axes": (2,), "centered": False, "epsilon": 0.1}),
    "softmax": Node("s", "softmax", ("x",), attrs={"axis": 1, "scale": 0.3}),
    "matmul": Node("m", "matmul", ("x", "y")),
}

"""Axes in another order (attrs: order)."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "transpose",
        lambda run, node, x: run.transpose(x, node.attrs["order"]),
        grid="alias",
        target="reshape",
        spellings={"litert": ("TRANSPOSE",)},
    ),
)

"""Axes in another order (attrs: order)."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "transpose",
        lambda run, node, x: run.transpose(x, node.attrs["order"]),
        grid="alias",
        target="reshape",
        integers=lambda steps, node: steps.move(node, "transpose", order=node.attrs["order"]),
        ordered=True,
        spellings={"litert": ("TRANSPOSE",)},
    ),
)

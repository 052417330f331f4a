"""A clamp to the node's own low and high: ReLU, ReLU6, Hardtanh; on the grid of its input, in its input's buffer."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "clamp",
        lambda run, node, x: x,
        grid="alias",
        passes_scales=True,
        integers=lambda steps, node: steps.same(node),
    ),
)

"""Every so manyth element along each axis (attrs: steps)."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "subsample",
        lambda run, node, x: run.subsample(x, node.attrs["steps"]),
        grid="input",
        target="reshape",
        integers=lambda steps, node: steps.move(node, "subsample", step=node.attrs["steps"]),
        axes={"steps": "each"},
        spellings={"litert": ("STRIDED_SLICE",)},
    ),
)

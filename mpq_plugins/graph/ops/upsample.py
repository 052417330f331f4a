"""Each element several times along each axis: nearest upsampling (attrs: times)."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "upsample",
        lambda run, node, x: run.upsample(x, node.attrs["times"]),
        grid="input",
        target="reshape",
        passes_scales=True,
        integers=lambda steps, node: steps.move(node, "repeat", repeat=node.attrs["times"]),
        axes={"times": "each"},
        spellings={"litert": ("RESIZE_NEAREST_NEIGHBOR",)},
    ),
)

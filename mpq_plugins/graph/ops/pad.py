"""Zeros around a tensor (attrs: pads, before and after for every axis)."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "pad",
        lambda run, node, x: run.pad(x, node.attrs["pads"]),
        grid="input",
        passes_scales=True,
        integers=lambda steps, node: steps.move(node, "pad", before=tuple(side for side, _ in node.attrs["pads"])),
        axes={"pads": "each"},
        spellings={"litert": ("PAD",)},
    ),
)

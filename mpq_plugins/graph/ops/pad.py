"""Zeros around a tensor (attrs: pads, before and after for every axis)."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "pad",
        lambda run, node, x: run.pad(x, node.attrs["pads"]),
        grid="input",
        passes_scales=True,
        spellings={"litert": ("PAD",)},
    ),
)

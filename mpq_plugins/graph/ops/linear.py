"""A dense layer on the last axis."""

from mpq_plugins.graph.op import Op, always

OPS = (
    Op(
        "linear",
        lambda run, node, x, weight, bias: run.matmul(x, weight, bias),
        weighted=True,
        negative=always,
        spellings={"litert": ("FULLY_CONNECTED",)},
    ),
)

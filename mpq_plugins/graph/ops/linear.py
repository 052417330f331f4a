"""A dense layer on the last axis."""

from mpq_plugins.graph.op import Op, always

OPS = (
    Op(
        "linear",
        lambda run, node, x, weight, bias: run.matmul(x, weight, bias),
        weighted=True,
        ordered=True,
        negative=always,
        integers=lambda steps, node: steps.linear(node),
        spellings={"litert": ("FULLY_CONNECTED",)},
    ),
)

"""A tensor enters the part of the model that computes on grids; whole numbers (the bytes of images) as floats."""

from mpq_plugins.graph.op import Op, any_negative

OPS = (
    Op(
        "input",
        lambda run, node, x: run.to_precision(x, run.precision_of(x)),
        negative=any_negative,
        spellings={"litert": ("QUANTIZE",)},
    ),
)

"""The product of two activations, whose shapes may broadcast."""

from collections.abc import Sequence

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op


def negative(node: Node, signs: Sequence[bool]) -> bool:
    """Below zero where a factor is; a square never."""
    return any(signs) and node.inputs[0] != node.inputs[1]


OPS = (
    Op(
        "mul",
        lambda run, node, a, b: a * b,
        arity=2,
        negative=negative,
        integers=lambda steps, node: steps.multiply(node),
        spellings={
            "litert": ("MUL",),
            "torch": ("operator.mul", "operator.imul", "torch.mul", "torch.multiply", ".mul", ".mul_", ".multiply"),
            "keras": ("Multiply", "__operators__.mul", "math.multiply"),
            "onnx": ("Mul",),
        },
    ),
)

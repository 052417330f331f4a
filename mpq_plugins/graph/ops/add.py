"""The sum of two activations, whose shapes may broadcast."""

from mpq_plugins.graph.op import Op

OPS = (
    Op(
        "add",
        lambda run, node, a, b: a + b,
        arity=2,
        integers=lambda steps, node: steps.add(node),
        litert=lambda attrs: {"potScaleInt16": False},
        spellings={
            "litert": ("ADD",),
            "torch": ("operator.add", "operator.iadd", "torch.add", ".add", ".add_"),
            "keras": ("Add", "__operators__.add", "math.add"),
            "onnx": ("Add",),
        },
    ),
)
